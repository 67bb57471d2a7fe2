package agent

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	// dockerFolder is where Docker keeps what it knows of its containers, a
	// folder each. To read the name there takes no access to Docker's socket,
	// which would be as good as root.
	dockerFolder = "/var/lib/docker/containers"

	maxContainerNames = 4096
	maxContainerFile  = 4 << 20 // of Docker's description of one container
)

// containerNames is a bounded cache of what Docker calls its containers.
// Anything else's containers have no name here.
type containerNames struct {
	folder string
	byID   map[string]containerName
}

type containerName struct {
	name   string
	readNS int64
}

// name is "" if the container isn't Docker's or Docker's folder isn't there.
func (c *containerNames) name(id string, now int64) string {
	if id == "" || c.folder == "" {
		return ""
	}
	// A container may be renamed, and may be looked up before it is described.
	if got, ok := c.byID[id]; ok && now-got.readNS < processNS {
		return got.name
	}
	if c.byID == nil || len(c.byID) >= maxContainerNames {
		c.byID = map[string]containerName{}
	}
	got := containerName{readContainerName(filepath.Join(c.folder, id, "config.v2.json")), now}
	c.byID[id] = got
	return got.name
}

func readContainerName(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "" // the usual case: another runtime's, or no Docker here
	}
	defer f.Close()
	var described struct{ Name string }
	if err := json.NewDecoder(io.LimitReader(f, maxContainerFile)).Decode(&described); err != nil {
		return ""
	}
	return strings.TrimPrefix(described.Name, "/")
}
