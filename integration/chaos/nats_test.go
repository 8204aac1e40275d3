package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsConfig of the role "nats".
type natsConfig struct {
	Name    string
	Dir     string
	Client  int      // port
	Cluster int      // port
	Routes  []string // to the others, host:port; none: no cluster
}

// startTime bounds the start of one process on a loaded machine.
const startTime = 2 * time.Minute

// runNATS is one server of the cluster, or the only one.
func runNATS(_ context.Context, in *json.Decoder, out *reporter) error {
	var c natsConfig
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	sys, app := server.NewAccount("SYS"), server.NewAccount(server.DEFAULT_GLOBAL_ACCOUNT)
	o := &server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.Client,
		JetStream: true, StoreDir: filepath.Join(c.Dir, c.Name), SyncAlways: true,
		// Coordinators ask in the system account whether all servers sync.
		Accounts: []*server.Account{sys, app}, SystemAccount: "SYS", NoAuthUser: "app",
		Users:  []*server.User{{Username: "sys", Password: "sys", Account: sys}, {Username: "app", Account: app}},
		NoSigs: true, LogFile: filepath.Join(c.Dir, c.Name+".nats.log"), Logtime: true,
	}
	if len(c.Routes) > 0 {
		o.Cluster = server.ClusterOpts{
			Name: "chaos", Host: "127.0.0.1", Port: c.Cluster,
			// Others must come through the links: what a server says of its own
			// address leads nowhere, and clients are told of no other server.
			Advertise: "127.0.0.1:1", NoAdvertise: true,
		}
	}
	for _, r := range c.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r})
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	if !s.ReadyForConnections(startTime) {
		return errors.New("not ready")
	}
	out.tell(event{Kind: kindReady})
	for {
		var order json.RawMessage
		if err := in.Decode(&order); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
