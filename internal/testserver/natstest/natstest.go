// Package natstest runs NATS servers with JetStream inside a test: one, or a
// cluster of three whose routes can be cut.
//
// Every server listens on loopback, syncs always, has a store directory of its
// own and keeps its client address over a restart.
package natstest

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// readyTime bounds every wait. An election alone takes 4 to 9 s, and the
// machine may be busy.
const readyTime = 90 * time.Second

// electionTime is how long an election that was asked for is left alone.
const electionTime = 3 * time.Second

// nowhere is what servers tell each other as their route address: a route made
// from gossip would lead around the links that a test can cut.
const nowhere = "127.0.0.1:9"

// Run runs one server with opts on a free loopback port until the test ends, and
// gives its URL.
func Run(t testing.TB, opts *server.Options) (url string) {
	t.Helper()
	opts.Host, opts.Port, opts.NoSigs, opts.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(readyTime) {
		t.Fatalf("server is not ready after %v", readyTime)
	}
	return srv.ClientURL()
}

// Cluster is a set of servers. Its methods are for one goroutine.
type Cluster struct {
	t     testing.TB
	nodes []*Node
	links [][]*link // [from][to], nil on the diagonal
	lazy  map[int]bool
}

// Node is one server of a Cluster.
type Node struct {
	// Name of the server, n1, n2, …
	Name string
	// StoreDir holds what the server keeps. Change it only while stopped.
	StoreDir string

	c     *Cluster
	index int
	srv   *server.Server // nil while stopped
	port  int            // of clients, 0 until known
	cut   bool
}

// Option changes one call of Start.
type Option func(*Cluster)

// Lazy starts the i-th server, from 0, without SyncAlways: a coordinator must
// refuse it.
func Lazy(i int) Option { return func(c *Cluster) { c.lazy[i] = true } }

// Start runs n servers, clustered when n is more than 1, and waits until they
// take streams. The test stops them when it ends.
func Start(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, links: make([][]*link, n), lazy: map[int]bool{}}
	for _, o := range opts {
		o(c)
	}
	for i := range n {
		c.nodes = append(c.nodes, &Node{Name: fmt.Sprintf("n%d", i+1), StoreDir: t.TempDir(), c: c, index: i})
		c.links[i] = make([]*link, n)
		for j := range n {
			if i != j {
				c.links[i][j] = newLink(t)
			}
		}
	}
	t.Cleanup(func() {
		for _, l := range c.eachLink() {
			l.close()
		}
		var wg sync.WaitGroup
		for _, nd := range c.nodes {
			wg.Go(nd.Stop)
		}
		wg.Wait()
	})
	for _, nd := range c.nodes {
		nd.start()
	}
	c.WaitReady()
	return c
}

// URL is where clients of the default account connect, all nodes.
func (c *Cluster) URL() string { return c.urls("") }

// SystemURL is where the system account connects, all nodes.
func (c *Cluster) SystemURL() string { return c.urls("sys:sys@") }

func (c *Cluster) urls(user string) string {
	var all []string
	for _, nd := range c.nodes {
		all = append(all, fmt.Sprintf("nats://%s127.0.0.1:%d", user, nd.port))
	}
	return strings.Join(all, ",")
}

// Nodes gives the servers, running or not.
func (c *Cluster) Nodes() []*Node { return c.nodes }

// Node gives the server of that name.
func (c *Cluster) Node(name string) *Node {
	c.t.Helper()
	for _, nd := range c.nodes {
		if nd.Name == name {
			return nd
		}
	}
	c.t.Fatalf("no server is named %q", name)
	return nil
}

// Leader waits for a leader of stream in the default account among the running
// servers that are not cut off, and gives it.
func (c *Cluster) Leader(stream string) *Node {
	c.t.Helper()
	var found *Node
	c.wait("leader of "+stream, func() bool {
		for _, nd := range c.nodes {
			if nd.srv != nil && !nd.cut && nd.srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				found = nd
				return true
			}
		}
		return false
	})
	return found
}

// WaitCurrent waits until every running server has all of stream.
func (c *Cluster) WaitCurrent(stream string) {
	c.t.Helper()
	c.wait("replicas of "+stream, func() bool {
		for _, nd := range c.nodes {
			if nd.srv != nil && !nd.srv.JetStreamIsStreamCurrent(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				return false
			}
		}
		return true
	})
}

// Lead makes this server the leader of stream in the default account.
func (nd *Node) Lead(stream string) {
	t := nd.c.t
	t.Helper()
	var asked time.Time
	nd.c.wait(nd.Name+" as the leader of "+stream, func() bool {
		old := nd.c.Leader(stream)
		// An election takes its time where the machine is busy: who asks again at once
		// disturbs it.
		if old == nd || time.Since(asked) < electionTime {
			return old == nd
		}
		asked = time.Now()
		nc, err := nats.Connect(old.URL())
		if err != nil {
			return false
		}
		defer nc.Close()
		// What comes of it shows the next look.
		_, _ = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, []byte(`{"placement":{"preferred":"`+nd.Name+`"}}`), 2*time.Second)
		return false
	})
}

// WaitReady waits until the running servers take streams.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	c.wait("servers", func() bool {
		running, led := 0, len(c.nodes) == 1
		for _, nd := range c.nodes {
			if nd.srv != nil {
				running++
			}
		}
		for _, nd := range c.nodes {
			switch {
			case nd.srv == nil || len(c.nodes) == 1:
			case nd.srv.JetStreamIsLeader(): // only it knows the peers
				led = len(nd.srv.JetStreamClusterPeers()) >= running
			case !nd.srv.JetStreamIsCurrent():
				return false
			}
		}
		return led
	})
}

func (c *Cluster) wait(what string, ok func() bool) {
	c.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(readyTime); !ok(); <-tick.C {
		if time.Now().After(end) {
			c.t.Fatalf("%s not ready after %v", what, readyTime)
		}
	}
}

func (c *Cluster) eachLink() (all []*link) {
	for _, row := range c.links {
		for _, l := range row {
			if l != nil {
				all = append(all, l)
			}
		}
	}
	return all
}

// URL is where clients of the default account reach this server alone.
func (nd *Node) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", nd.port) }

// Server is the running server, nil while stopped.
func (nd *Node) Server() *server.Server { return nd.srv }

// Stop shuts the server down as an operator does. It may be called twice.
func (nd *Node) Stop() {
	if nd.srv != nil {
		nd.srv.Shutdown()
		nd.srv.WaitForShutdown()
		nd.srv = nil
	}
}

// Restart starts a stopped server on its store and waits until it is ready.
func (nd *Node) Restart() {
	nd.c.t.Helper()
	nd.start()
	nd.c.WaitReady()
}

// Cut holds back every byte between this server and the others; its clients
// still reach it. What is held back arrives after Heal, as over a network that
// was away. A cut server that is stopped has died without a word.
func (nd *Node) Cut() {
	nd.cut = true
	nd.eachLink((*link).cut)
}

// Heal ends Cut.
func (nd *Node) Heal() {
	nd.cut = false
	nd.eachLink((*link).heal)
}

func (nd *Node) eachLink(do func(*link)) {
	for j := range nd.c.nodes {
		if j != nd.index {
			do(nd.c.links[nd.index][j])
			do(nd.c.links[j][nd.index])
		}
	}
}

func (nd *Node) start() {
	t := nd.c.t
	t.Helper()
	sys, app := server.NewAccount("SYS"), server.NewAccount(server.DEFAULT_GLOBAL_ACCOUNT)
	o := &server.Options{
		ServerName: nd.Name, JetStream: true, StoreDir: nd.StoreDir, SyncAlways: !nd.c.lazy[nd.index],
		JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 1 << 28,
		Host: "127.0.0.1", Port: nd.port, NoSigs: true, NoLog: true,
		Accounts: []*server.Account{sys, app}, SystemAccount: "SYS",
		Users:      []*server.User{{Username: "sys", Password: "sys", Account: sys}, {Username: "app", Account: app}},
		NoAuthUser: "app",
	}
	if nd.port == 0 {
		o.Port = server.RANDOM_PORT
	}
	if len(nd.c.nodes) > 1 {
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, Advertise: nowhere, PoolSize: -1}
		for j, l := range nd.c.links[nd.index] {
			if j != nd.index {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: l.addr()})
			}
		}
	}
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	nd.srv = srv
	if !srv.ReadyForConnections(readyTime) {
		t.Fatalf("server %s is not ready after %v", nd.Name, readyTime)
	}
	nd.port = srv.Addr().(*net.TCPAddr).Port
	for i := range nd.c.nodes {
		if i != nd.index {
			nd.c.links[i][nd.index].aim(srv.ClusterAddr().String())
		}
	}
}
