package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/natsbus"
)

const coordinatorHelp = `gtx coordinator runs a node of the transaction coordinator on NATS servers of your
own. Start it two or three times: one node leads, the others follow its log and
take over when it is not heard any more, or hands over.

  gtx coordinator -url nats://n1:4222,nats://n2:4222 -replicas 3 -system-creds sys.creds

With -embedded it brings a NATS server along, for programs of this machine:

  gtx coordinator -embedded /var/lib/gtx -listen 127.0.0.1:4222

-status lists the nodes that are there and ends with exit code 1 when none leads.

An interrupt or SIGTERM hands over: transactions that are open go on at the next
leader, a standby or the next start. A second one ends the process at once; what
is undecided is then aborted.

Usage: gtx coordinator -url URL | -embedded DIR [flags]

`

// coordinatorOptions are the flags of gtx coordinator.
type coordinatorOptions struct {
	node      natsbus.ServiceConfig
	auth, sys natsLogin
	embedded  string
	listen    string
	status    bool
	level     slog.Level
}

// natsLogin are files that NATS tools name the same way.
type natsLogin struct{ creds, nkey, cert, key, ca string }

func (l natsLogin) options() (opts []nats.Option, err error) {
	if l.creds != "" {
		opts = append(opts, nats.UserCredentials(l.creds))
	}
	if l.nkey != "" {
		o, err := nats.NkeyOptionFromSeed(l.nkey)
		if err != nil {
			return nil, fmt.Errorf("read -nkey: %w", err)
		}
		opts = append(opts, o)
	}
	if l.cert != "" {
		opts = append(opts, nats.ClientCert(l.cert, l.key))
	}
	if l.ca != "" {
		opts = append(opts, nats.RootCAs(l.ca))
	}
	return opts, nil
}

// parseCoordinator reads args; it explains itself on w.
func parseCoordinator(args []string, w io.Writer) (o coordinatorOptions, err error) {
	fs := flag.NewFlagSet("gtx coordinator", flag.ContinueOnError)
	fs.SetOutput(w)
	fs.Usage = func() {
		fmt.Fprint(w, coordinatorHelp)
		fs.PrintDefaults()
	}
	fs.StringVar(&o.node.URL, "url", "", "`URL`s of the NATS servers, comma separated")
	fs.StringVar(&o.auth.creds, "creds", "", "`file` with the credentials of the coordinator's user")
	fs.StringVar(&o.auth.nkey, "nkey", "", "`file` with the NKEY seed of the coordinator's user")
	fs.StringVar(&o.auth.cert, "tlscert", "", "`file` with the client certificate, with -tlskey")
	fs.StringVar(&o.auth.key, "tlskey", "", "`file` with the key of the client certificate")
	fs.StringVar(&o.auth.ca, "tlsca", "", "`file` with the certificate authorities of the servers")
	fs.StringVar(&o.node.SystemURL, "system-url", "", "`URL`s for the system account (default: those of -url)")
	fs.StringVar(&o.sys.creds, "system-creds", "", "`file` with credentials of the system account, to ask every server whether it syncs always")
	fs.StringVar(&o.sys.nkey, "system-nkey", "", "`file` with an NKEY seed of the system account")
	fs.BoolVar(&o.node.AssumeSyncAlways, "assume-sync-always", false, "do not ask: every server has sync_interval: always")
	fs.StringVar(&o.node.Name, "name", "", "`name` of this node (default: host and process id)")
	fs.IntVar(&o.node.Replicas, "replicas", 1, "least replicas of the decision log: 3 in a cluster")
	fs.Int64Var(&o.node.MaxBytes, "max-bytes", 8<<30, "bound of the decision log in `bytes`, when it is made")
	fs.DurationVar(&o.node.TakeoverAfter, "takeover-after", 0, "how long silence of a leader is borne (default 2s)")
	fs.StringVar(&o.embedded, "embedded", "", "`directory` of the decision log: run a NATS server inside")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:4222", "loopback `address` of the server inside")
	fs.BoolVar(&o.status, "status", false, "list the nodes behind -url and end")
	fs.TextVar(&o.level, "log-level", slog.LevelInfo, "least `level` of the log on standard error: debug, info, warn, error")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return o, err
	} else if err != nil {
		return o, errUsage
	}
	complaint := ""
	switch {
	case fs.NArg() > 0:
		complaint = fmt.Sprintf("unexpected argument %q", fs.Arg(0))
	case (o.node.URL == "") == (o.embedded == ""):
		complaint = "needs -url, or -embedded, and not both"
	case o.embedded != "" && o.status:
		complaint = "-status needs -url; the one node inside leads as long as it runs"
	case (o.auth.cert == "") != (o.auth.key == ""):
		complaint = "-tlscert and -tlskey go together"
	case o.node.Replicas < 1 || o.node.Replicas > 5 || o.node.MaxBytes < 1<<20:
		complaint = "-replicas is 1 to 5, -max-bytes at least 1048576"
	}
	if complaint != "" {
		fmt.Fprintf(w, "gtx coordinator: %s; gtx coordinator -h explains\n", complaint)
		return o, errUsage
	}
	return o, nil
}

func runCoordinator(ctx context.Context, args []string, std stdio) error {
	o, err := parseCoordinator(args, std.err)
	if err != nil {
		return err
	}
	o.node.Logger = slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: o.level}))
	if o.node.Options, err = o.auth.options(); err != nil {
		return err
	}
	if o.node.System, err = o.sys.options(); err != nil {
		return err
	}
	switch {
	case o.status:
		return printNodes(ctx, o.node, std.out)
	case o.embedded != "":
		return runEmbedded(ctx, o, std)
	}
	return runNode(ctx, o.node, std)
}

// runNode runs until a signal, which hands over.
func runNode(ctx context.Context, cfg natsbus.ServiceConfig, std stdio) error {
	ctx, stopSignals := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stopSignals()
	node, err := natsbus.Serve(ctx, cfg)
	if err != nil {
		return err
	}
	for {
		now, changed := node.Watch()
		switch {
		case now.Role == natsbus.RoleLeader:
			fmt.Fprintf(std.out, "%s leads log %s in epoch %d\n", now.Name, now.Log, now.Epoch)
		case now.Role == natsbus.RoleStandby && now.Leader != "":
			fmt.Fprintf(std.out, "%s follows %s\n", now.Name, now.Leader)
		}
		select {
		case <-changed:
		case <-node.Done():
			return node.Err()
		case <-ctx.Done():
			return stopAtOnceBySignal(std, node.Stop)
		}
	}
}

func runEmbedded(ctx context.Context, o coordinatorOptions, std stdio) error {
	ctx, stopSignals := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stopSignals()
	bus, err := natsbus.Embedded(ctx, o.embedded, natsbus.Listen(o.listen),
		natsbus.WithLogger(o.node.Logger), natsbus.WithMaxBytes(o.node.MaxBytes))
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "leads on %s; programs connect with the URL in %s\n", o.listen, filepath.Join(o.embedded, "url"))
	<-ctx.Done()
	return stopAtOnceBySignal(std, func() { _ = bus.Close() }) // it gives no error
}

// stopAtOnceBySignal waits for stop, but not beyond another signal.
func stopAtOnceBySignal(std stdio, stop func()) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(again)
	fmt.Fprintln(std.out, "handing over")
	done := make(chan struct{})
	go func() {
		defer close(done)
		stop()
	}()
	select {
	case <-done:
		return nil
	case <-again:
		return errors.New("ended without handing over: undecided transactions will be aborted")
	}
}

// printNodes is an error when no node leads.
func printNodes(ctx context.Context, cfg natsbus.ServiceConfig, w io.Writer) error {
	nodes, err := natsbus.Nodes(ctx, cfg)
	if err != nil {
		return err
	}
	led := false
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tEPOCH\tLOG\tLAG\tLIVE\tCOMMITTING\tUNFINISHED\tTROUBLE")
	for _, n := range nodes {
		if n.Role != natsbus.RoleLeader {
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t-\t-\t-\t%s\n", n.Name, n.Role, n.Epoch, n.Seq, n.Lag(), n.Trouble)
			continue
		}
		led = true
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", n.Name, n.Role, n.Epoch, n.Seq, n.Lag(),
			n.Stats.Live, n.Stats.Committing, n.Stats.Unfinished, n.Trouble)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if !led {
		return errors.New("no node leads: transactions cannot be decided now")
	}
	return nil
}
