// Loadgen is package load as a process, so that a test can give it a name, a
// cgroup or a network namespace of its own. It reads a plan as JSON from
// standard input and prints the figures as JSON; with -stamps, every stamp too.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/weirstream/weir/test/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("loadgen", flag.ContinueOnError)
	stamps := flags.Bool("stamps", false, "print the stamp of every request")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var plan load.Plan
	decoder := json.NewDecoder(stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&plan); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	result, err := load.Run(ctx, plan)
	if err != nil {
		return err
	}
	figures := result.Figures()
	if *stamps {
		figures.Stamps = result.Stamps
	}
	return json.NewEncoder(stdout).Encode(figures)
}
