package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
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
	sh := newShop(func(service string) string { return os.Getenv(envAddress + service) })
	if name == loadName {
		rate, err := strconv.ParseFloat(os.Getenv(envRate), 64)
		if err != nil {
			return fmt.Errorf("read rate of the load: %w", err)
		}
		return newLoad(sh, os.Getenv(envDir), rate).run(ctx)
	}
	for _, s := range services() {
		if s.name != name {
			continue
		}
		l, err := net.FileListener(os.NewFile(listenerFD, "listener"))
		if err != nil {
			return fmt.Errorf("take over listener: %w", err)
		}
		return s.serve(ctx, l, sh)
	}
	return fmt.Errorf("the demo shop has no service %q", name)
}
