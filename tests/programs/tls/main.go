// A server and a client of Go's own TLS, under watch in tests of the agent.
//
//	main serve ADDRESS             HTTPS, with HTTP/2 where the client has it
//	main plain ADDRESS             one request for each connection, read into a buffer on a stack that grows meanwhile
//	main ask URL WORKERS SECONDS   asks from many goroutines, fails when one request does; SECONDS 0 for a few requests each;
//	                               with STAY behind it stays that many seconds more, so that it can be looked at
//	main ask1 URL WORKERS SECONDS  the same by HTTP/1.1
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const few = 5

func main() {
	log.SetFlags(0)
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2])
	case "plain":
		plain(os.Args[2])
	case "ask", "ask1":
		workers, _ := strconv.Atoi(os.Args[3])
		seconds, _ := strconv.Atoi(os.Args[4])
		ask(os.Args[2], os.Args[1] == "ask", workers, time.Duration(seconds)*time.Second)
		if len(os.Args) > 5 {
			stay, _ := strconv.Atoi(os.Args[5])
			time.Sleep(time.Duration(stay) * time.Second)
		}
	}
}

func settings() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	made, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	check(err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{made}, PrivateKey: key}}}
}

func serve(address string) {
	http.HandleFunc("/orders/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "order %s, %d", r.URL.Path[len("/orders/"):], deep(200))
	})
	http.HandleFunc("/failing", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no", http.StatusInternalServerError)
	})
	server := http.Server{Addr: address, TLSConfig: settings(), ErrorLog: log.New(io.Discard, "", 0)}
	check(server.ListenAndServeTLS("", ""))
}

// A connection inside another, as proxies and meters have it.
type wrapped struct{ net.Conn }

func plain(address string) {
	listener, err := net.Listen("tcp", address)
	check(err)
	config := settings()
	for {
		accepted, err := listener.Accept()
		check(err)
		// A new goroutine has a small stack. The handshake, within the first Read, needs more.
		go answer(tls.Server(wrapped{accepted}, config))
	}
}

func answer(connection *tls.Conn) {
	var buffer [512]byte
	count, err := connection.Read(buffer[:])
	if err == nil && count > 0 {
		connection.Write([]byte("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"))
	}
	connection.Close()
}

// Uses a lot of stack, and gives it back.
func deep(depth int) int {
	var space [256]byte
	space[depth%256] = byte(depth)
	if depth == 0 {
		return int(space[0])
	}
	return deep(depth-1) + int(space[depth%256]) - int(byte(depth))
}

func ask(url string, newest bool, workers int, during time.Duration) {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2:   newest,
		MaxIdleConnsPerHost: workers,
	}
	client := http.Client{Transport: transport, Timeout: 30 * time.Second}
	end := time.Now().Add(during)
	var asked atomic.Int64
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for round := 0; round < few || time.Now().Before(end); round++ {
				// Each in a goroutine of its own, whose stack grows in the middle.
				failed := make(chan error)
				id := strconv.Itoa(worker*1_000_000 + round)
				go func() { failed <- one(&client, url, id) }()
				check(<-failed)
				asked.Add(1)
			}
		})
	}
	all.Wait()
	fmt.Println(asked.Load())
}

func one(client *http.Client, url string, id string) error {
	response, err := client.Get(url + "/orders/" + id)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if want := "order " + id + ", " + strconv.Itoa(deep(300)); string(body) != want {
		return fmt.Errorf("%q in the place of %q", body, want)
	}
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
