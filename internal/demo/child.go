package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	listenerFD = 3 // the listening socket that the parent made
	loadName   = "load"

	envAddress = "WEIR_SHOP_" // + NAME of a service
	envDir     = "WEIR_SHOP_DIR"
	envRate    = "WEIR_SHOP_RATE"
)

// Child is one process of the shop: a service, or "load". It ends with ctx or
// when lifeline does, and reads its addresses from the environment.
func Child(ctx context.Context, name string, lifeline io.Reader) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, lifeline)
		stop()
	}()
	listen := func() (net.Listener, error) { return net.FileListener(os.NewFile(listenerFD, "listener")) }
	counts := filepath.Join(os.Getenv(envDir), CountsFile)
	sh := newShop(func(service string) string { return os.Getenv(envAddress + service) })
	return run(ctx, name, sh, listen, func(c *Counts) error { return c.writeFile(counts) })
}

// Alone is one process of the shop without a parent, such as a container. A
// service listens at address. The others are at the same port of the hosts
// called shop-<service>, or where the environment says. The load generator
// prints its counts to out, a line of JSON.
func Alone(ctx context.Context, name, address string, out io.Writer) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: want host:port: %w", address, err)
	}
	sh := newShop(func(service string) string {
		return cmp.Or(os.Getenv(envAddress+service), net.JoinHostPort("shop-"+service, port))
	})
	listen := func() (net.Listener, error) { return net.Listen("tcp", address) }
	return run(ctx, name, sh, listen, func(c *Counts) error { return json.NewEncoder(out).Encode(c) })
}

func run(ctx context.Context, name string, sh *shop, listen func() (net.Listener, error), report func(*Counts) error) error {
	if name == loadName {
		rate, err := strconv.ParseFloat(cmp.Or(os.Getenv(envRate), fmt.Sprint(Rate)), 64)
		if err != nil || rate <= 0 {
			return fmt.Errorf("read rate of the load: %s is %q, not a number above 0", envRate, os.Getenv(envRate))
		}
		return newLoad(sh, rate, report).run(ctx)
	}
	for _, s := range services() {
		if s.name != name {
			continue
		}
		l, err := listen()
		if err != nil {
			return fmt.Errorf("listen for the demo: %w", err)
		}
		return s.serve(ctx, l, sh)
	}
	return fmt.Errorf("the demo shop has no service %q: there are %s and %s", name, strings.Join(names(), ", "), loadName)
}
