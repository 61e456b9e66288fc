package main

import (
	"fmt"
	"net"
	"os/exec"
)

func main() {
	numbers := make(chan int)
	go func() { numbers <- 42 }()
	said, err := exec.Command("echo", "hi").Output()
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		accepted, _ := listener.Accept()
		accepted.Write([]byte("x"))
		accepted.Close()
	}()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		panic(err)
	}
	got := make([]byte, 1)
	client.Read(got)
	fmt.Printf("hello from Go %d %s %s", <-numbers, got, said)
}
