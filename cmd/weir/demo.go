package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirstream/weir/internal/demo"
)

const shopCommandName = "demo-shop"

// shopCommand is one process of the shop that `weir up --demo` runs. It is
// hidden: without the parent's sockets it can do nothing.
func (a *app) shopCommand() *cobra.Command {
	return &cobra.Command{
		Use:    shopCommandName + " SERVICE",
		Short:  "One process of the demo shop",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return demo.Child(cmd.Context(), args[0], cmd.InOrStdin())
		},
	}
}

// shopAloneCommand is one process of the shop in a container of its own. It is
// hidden: `weir up --demo` is the way to see the shop on one host.
func (a *app) shopAloneCommand() *cobra.Command {
	var listen string
	var rate float64
	cmd := &cobra.Command{
		Use:    "shop SERVICE",
		Short:  "One service of the demo shop, or its load",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return demo.Alone(cmd.Context(), args[0], listen, rate)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", ":8080", "`address` to listen at; the other services are at its port too")
	cmd.Flags().Float64Var(&rate, "rate", demo.Rate, "requests a second of the load")
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
