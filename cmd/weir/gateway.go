package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/cmd/internal/service"
	"github.com/weirstream/weir/gateway"
	"github.com/weirstream/weir/gateway/api"
	"github.com/weirstream/weir/internal/bus"
)

// leastToken is the length below which a token can be guessed.
const leastToken = 16

type gatewayFlags struct {
	serviceFlags
	tokenFile string
	noToken   bool
	cacheMiB  int
	pageURL   string
	otlp      otlpFlags
	remote    remoteWriteFlags
}

func (a *app) gatewayCommand() *cobra.Command {
	f := &gatewayFlags{}
	cmd := &cobra.Command{
		Use:     "gateway",
		GroupID: groupParts,
		Short:   "The page: WEIR_LATENCY and WEIR_ENRICHED for people",
		Long: `Serves the live page, and answers weir.api.latency, weir.api.map and
weir.api.events on NATS. It is an ordinary subscriber: a user that may read
WEIR_LATENCY and WEIR_ENRICHED is enough, and answer weir.api.*. It keeps 24
hours of histograms in memory, so that viewers cost the streams nothing.

Prometheus scrapes the histograms at /metrics/latency, native and classic
buckets; with --remote-write-url they are also sent to one. With --otlp-endpoint
they are sent by OTLP, and single requests as spans if otlp-signals says so.

Where others than this host can reach it, viewers need the token of --token-file.`,
		Example: `  weir gateway                                  # for this host
  weir gateway --http :7070 --token-file /etc/weir/page-token
  weir gateway --otlp-endpoint http://collector:4318`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := f.token()
			if err != nil {
				return err
			}
			if _, err := parsePage(f.pageURL); f.pageURL != "" && err != nil {
				return usagef("--page-url %w", err)
			}
			if f.cacheMiB < 16 {
				return usagef("--cache-mib %d is too little: at least 16", f.cacheMiB)
			}
			otlp, err := f.otlp.config(cmd.Flags(), a.lookupEnv)
			if err != nil {
				return err
			}
			remote, err := f.remote.config()
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), &f.serviceFlags, func(ctx context.Context, c *bus.Conn, log *slog.Logger) error {
				g, ctx := errgroup.WithContext(ctx)
				g.Go(func() error {
					return gateway.Run(ctx, gateway.Config{
						Bus: c, HTTP: f.http, Registry: service.Metrics(), Token: token, CacheBytes: f.cacheMiB << 20, OTLP: otlp, RemoteWrite: remote,
					}, log)
				})
				g.Go(func() error { return api.Run(ctx, c, f.page(c.Address())) })
				return g.Wait()
			})
		},
	}
	f.add(cmd, defaultHTTP, "the page, ")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "`file` of the token that viewers need; none is needed on loopback")
	cmd.Flags().BoolVar(&f.noToken, "no-token", false, "let in whoever reaches --http as localhost or by an address, as in a container published to loopback only")
	cmd.Flags().StringVar(&f.pageURL, "page-url", "", "`address` by which people reach the page, for the links that weir latency and the like print (default --http on loopback)")
	cmd.Flags().IntVar(&f.cacheMiB, "cache-mib", gateway.DefaultCacheBytes>>20, "bound of the history in memory, in MiB")
	f.otlp.add(cmd.Flags())
	f.remote.add(cmd.Flags())
	return cmd
}

// page is where people reach the page, "" if that isn't known: what others call
// this host or its container is not to be found here.
func (f *gatewayFlags) page(nats string) string {
	if f.pageURL != "" || !gateway.Loopback(f.http) {
		return f.pageURL
	}
	return hostPage(f.http, nats)
}

func (f *gatewayFlags) token() (string, error) {
	switch {
	case f.http == "":
		return "", usagef("--http is empty: say where to serve the page")
	case f.tokenFile != "" && f.noToken:
		return "", usagef("--token-file and --no-token contradict each other: give one of them")
	case f.tokenFile != "":
		return readToken(f.tokenFile)
	case !f.noToken && !gateway.Loopback(f.http):
		return "", usagef("--http %s can be reached by others: give a --token-file, or an address of loopback, or --no-token if something else guards it", f.http)
	}
	return "", nil
}

func readToken(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if len(token) < leastToken {
		return "", fmt.Errorf("read token: %s holds %d characters, at least %d are needed: `openssl rand -hex 16 > %s` makes one", file, len(token), leastToken, file)
	}
	return token, nil
}

// pageToken is the token of `weir up`: none on loopback, else one of its own
// that stays in the data folder.
func pageToken(address, dataDir string) (string, error) {
	if gateway.Loopback(address) {
		return "", nil
	}
	file := filepath.Join(dataDir, "page-token")
	token, err := readToken(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	var random [18]byte
	rand.Read(random[:]) // never fails
	token = base64.RawURLEncoding.EncodeToString(random[:])
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the page's token: %w", err)
	}
	return token, nil
}

// pageURL is what to type into a browser.
func pageURL(address, token string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: "/"}
	if token != "" {
		u.RawQuery = url.Values{"token": {token}}.Encode()
	}
	return u.String()
}
