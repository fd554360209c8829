// A peer for the interop test: hashicorp/yamux itself at the other end of a TCP connection.
//
//	peer client ADDR   opens streams, sends data, expects the same back, prints one line
//	peer server ADDR   echoes every stream until the session ends
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	parallelStreams   = 20
	bytesPerStream    = 1 << 20
	sequentialStreams = 600 // more than yamux's accept backlog of 256
)

func main() {
	conn, err := net.Dial("tcp", os.Args[2])
	check(err)
	config := yamux.DefaultConfig()
	config.LogOutput = os.Stderr
	if os.Args[1] == "client" {
		runClient(conn, config)
	} else {
		runServer(conn, config)
	}
}

func runClient(conn net.Conn, config *yamux.Config) {
	session, err := yamux.Client(conn, config)
	check(err)
	_, err = session.Ping()
	check(err)

	var group sync.WaitGroup
	for i := 0; i < parallelStreams; i++ {
		group.Add(1)
		go func(seed int64) {
			defer group.Done()
			exchange(session, seed, bytesPerStream)
		}(int64(i))
	}
	group.Wait()
	for i := 0; i < sequentialStreams; i++ {
		exchange(session, int64(i), 100)
	}
	// Our ends' FINs may still be on their way.
	for deadline := time.Now().Add(5 * time.Second); session.NumStreams() > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	check(session.GoAway())
	fmt.Printf("ok %d streams left\n", session.NumStreams())
	check(session.Close())
}

// The length goes first, as this yamux can't read on after it closed its own half.
func exchange(session *yamux.Session, seed int64, size int) {
	stream, err := session.OpenStream()
	check(err)
	data := make([]byte, 8+size)
	binary.BigEndian.PutUint64(data, uint64(size))
	rand.New(rand.NewSource(seed)).Read(data[8:])
	go func() {
		_, err := stream.Write(data)
		check(err)
	}()
	echo := make([]byte, len(data))
	_, err = io.ReadFull(stream, echo)
	check(err)
	if sha256.Sum256(echo) != sha256.Sum256(data) {
		check(fmt.Errorf("stream %d came back changed", stream.StreamID()))
	}
	check(stream.Close())
	n, err := stream.Read(echo)
	if n != 0 || err != io.EOF {
		check(fmt.Errorf("expected the end of stream %d, got %d bytes and %v", stream.StreamID(), n, err))
	}
}

func runServer(conn net.Conn, config *yamux.Config) {
	session, err := yamux.Server(conn, config)
	check(err)
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			fmt.Printf("ok %d streams left\n", session.NumStreams())
			return
		}
		go func() {
			io.Copy(stream, stream)
			stream.Close()
		}()
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}
