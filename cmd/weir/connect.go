package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/internal/bus"
)

// connect connects to the streams that the global flags name, or those of the
// cluster.
func (a *app) connect(ctx context.Context) (*bus.Conn, error) {
	log, err := service.Logger(a.stderr, "warn")
	if err != nil {
		return nil, err
	}
	return a.connectLogging(ctx, log)
}

func (a *app) connectLogging(ctx context.Context, log *slog.Logger) (*bus.Conn, error) {
	options, err := a.busOptions()
	if err == nil && a.plugin && !a.elsewhere {
		options, err = a.clusterOptions(ctx)
	}
	if err != nil {
		return nil, err
	}
	return bus.Connect(ctx, options, log)
}

func (a *app) busOptions() (bus.Options, error) {
	options := a.nats.Options("weir")
	if a.context == "" {
		return options, nil
	}
	err := fromContext(a.context, &options)
	return options, err
}

// fromContext reads a context of the nats command.
func fromContext(name string, options *bus.Options) error {
	dir, err := os.UserConfigDir()
	if err != nil {
		return fmt.Errorf("find NATS contexts: %w", err)
	}
	dir = filepath.Join(dir, "nats", "context")
	if name != filepath.Base(name) {
		return usagef("%q is not the name of a NATS context", name)
	}
	content, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("there is no NATS context %q in %s: `nats context ls` lists them", name, dir)
	}
	if err != nil {
		return fmt.Errorf("read NATS context: %w", err)
	}
	var c struct {
		URL, User, Password, Token string
		Creds, NKey, NSC           string
		Cert, Key, CA              string
		TLSFirst                   bool   `json:"tls_first"`
		InboxPrefix                string `json:"inbox_prefix"`
	}
	if err := json.Unmarshal(content, &c); err != nil {
		return fmt.Errorf("read NATS context %s: %w", name, err)
	}
	if c.NSC != "" {
		return fmt.Errorf("NATS context %s signs in through nsc: make a credentials file with `nsc generate creds`, and use --creds", name)
	}
	options.Creds, options.NKey, options.InboxPrefix = c.Creds, c.NKey, cmp.Or(options.InboxPrefix, c.InboxPrefix)
	options.TLSCA, options.TLSCert, options.TLSKey, options.TLSFirst = c.CA, c.Cert, c.Key, c.TLSFirst
	options.URL, err = withUser(c.URL, c.User, c.Password, c.Token)
	return err
}

// withUser puts a user into every address of a list.
func withUser(servers, user, password, token string) (string, error) {
	if servers == "" {
		servers = service.DefaultServer
	}
	if user == "" && token == "" {
		return servers, nil
	}
	list := strings.Split(servers, ",")
	for i, s := range list {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			return "", fmt.Errorf("read address of NATS: %w", err)
		}
		if u.User = url.User(token); token == "" {
			u.User = url.UserPassword(user, password)
		}
		list[i] = u.String()
	}
	return strings.Join(list, ","), nil
}
