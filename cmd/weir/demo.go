package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/demo"
)

const shopCommandName = "demo-shop"

// shopCommand is one process of the shop that `weir up --demo` runs, or one
// container of it. It is hidden: it is of use to examples only.
func (a *app) shopCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:    shopCommandName + " SERVICE",
		Short:  "One process of the demo shop",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if listen != "" {
				return demo.Alone(cmd.Context(), args[0], listen, a.stdout)
			}
			return demo.Child(cmd.Context(), args[0], cmd.InOrStdin())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`address` of this service; the others are at this port of shop-SERVICE (default: sockets of the parent)")
	return cmd
}

// shop is the demo of `weir up`: its processes are this program again.
func (a *app) shop(dataDir string) (demo.Config, error) {
	self, err := os.Executable()
	if err != nil {
		return demo.Config{}, fmt.Errorf("find this program: %w", err)
	}
	return demo.Config{
		Path:   self,
		Args:   []string{os.Args[0], shopCommandName},
		Dir:    filepath.Join(dataDir, "shop"),
		Output: a.stderr,
	}, nil
}
