//go:build installs

package compose

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

const repository = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// build makes the images that docker-compose.yaml names, and returns the path of
// the weir program that is in them.
func (d *docker) build() (weir string) {
	d.t.Helper()
	file := read(d.t, "Dockerfile")
	build := regexp.MustCompile(`(?m)^RUN (CGO_ENABLED=0 .*go build .*)$`).FindStringSubmatch(file)
	_, final, ok := strings.Cut(file, "\nFROM scratch\n")
	if build == nil || !ok || strings.Count(final, "--from=build /out/ /") != 1 {
		d.t.Fatal("the Dockerfile has other stages than this test knows")
	}
	source := d.context()
	image := filepath.Join(d.dir, "image")
	d.shell(source, strings.ReplaceAll(build[1], " /out/ ", " "+image+"/out/ "))
	write(d.t, filepath.Join(image, "Dockerfile"), "FROM scratch\n"+strings.Replace(final, "--from=build /out/ /", "out/ /", 1))
	d.run("docker", "build", "--quiet", "--tag", d.image("weirstream/weir"), image)

	nats := filepath.Join(d.dir, "nats")
	d.shell(repository, "CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "+nats+"/nats-server github.com/nats-io/nats-server/v2")
	write(d.t, filepath.Join(nats, "Dockerfile"), "FROM scratch\nCOPY nats-server /nats-server\nENV PATH=/\nENTRYPOINT [\"/nats-server\"]\n")
	d.run("docker", "build", "--quiet", "--tag", d.image("nats"), nats)
	return filepath.Join(image, "out", "weir")
}

// image is the name and tag that docker-compose.yaml gives an image.
func (d *docker) image(name string) string {
	d.t.Helper()
	found := regexp.MustCompile(`(?m)^ +image: (` + regexp.QuoteMeta(name) + `:\S+)$`).FindStringSubmatch(read(d.t, "docker-compose.yaml"))
	if found == nil {
		d.t.Fatalf("docker-compose.yaml has no image %s", name)
	}
	return found[1]
}

// context is a copy of what Docker takes of the repository for a build.
func (d *docker) context() string {
	d.t.Helper()
	file := filepath.Join(d.dir, "Context")
	write(d.t, file, "FROM scratch\nCOPY . /source/\nCMD [\"none\"]\n")
	d.run("docker", "build", "--quiet", "--tag", "context", "--file", file, ".")
	id := strings.TrimSpace(d.run("docker", "create", "context"))
	d.run("docker", "cp", id+":/source", d.dir)
	d.run("docker", "rm", id)
	return filepath.Join(d.dir, "source")
}

func (d *docker) shell(dir, command string) {
	d.t.Helper()
	cmd := exec.Command("sh", "-ec", command)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TARGETARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%s: %v\n%s", command, err, out)
	}
}
