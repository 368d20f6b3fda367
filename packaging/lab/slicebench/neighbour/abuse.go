package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"posd/packaging/lab/slicebench/rig"
)

// abuse sends what has to be refused, from several connections without a pause.
func abuse(args []string) error {
	fs := flag.NewFlagSet("abuse", flag.ContinueOnError)
	url := fs.String("url", "http://127.0.0.1:8080", "of posd")
	token := fs.String("token", "", "of a front end")
	long := fs.Duration("long", 10*time.Second, "for so long")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var mu sync.Mutex
	answers := map[string]int{}
	var g sync.WaitGroup
	end := time.Now().Add(*long)
	for w := range 8 {
		g.Go(func() {
			c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			for n := w; time.Now().Before(end); n++ {
				answer := "broken"
				if res, err := c.Do(hostile(*url, *token, n)); err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
					answer = strconv.Itoa(res.StatusCode)
				}
				mu.Lock()
				answers[answer]++
				mu.Unlock()
			}
		})
	}
	g.Wait()
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// hostile is one of several requests that posd has to refuse.
func hostile(url, token string, n int) *http.Request {
	path, body := "/v1/checkout", `{"lines":[{"item":"no such item"}],"tenders":[]}`
	header := http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Idempotency-Key": {"abuse-" + strconv.Itoa(n)}}
	switch n % 5 {
	case 0:
		header.Set("Authorization", "Bearer guessed-"+strconv.Itoa(n))
	case 1:
		body = `{"lines":[{"quantity":` + strings.Repeat("9", 1000)
	case 2:
		path = "/v1/nothing-" + strconv.Itoa(n)
	case 3:
		body = strings.Repeat("x", 300<<10)
	}
	r, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader(body))
	if err != nil {
		panic(err) // the address is of our own making
	}
	r.Header = header
	return r
}

// after waits for a file, then for a while, and becomes a program.
func after(file, seconds string, args []string) error {
	wait, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return err
	}
	for {
		if _, err := os.Stat(file); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(wait)
	return become("", args)
}

func printPage(url, token string) error {
	b, err := rig.Get(context.Background(), http.DefaultClient, url, token)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(b)
	return err
}

// awaitLedger waits until the ledger has a record, ten minutes at most.
func awaitLedger(url, token, terminal, record string) error {
	want, err := strconv.ParseUint(record, 10, 64)
	if err != nil {
		return err
	}
	for range 1200 {
		b, err := rig.Get(context.Background(), http.DefaultClient, url+"/v1/terminals", token)
		if err != nil {
			return err
		}
		var all []struct {
			Terminal string
			Last     uint64
		}
		if err := json.Unmarshal(b, &all); err != nil {
			return err
		}
		for _, t := range all {
			if t.Terminal == terminal && t.Last >= want {
				return nil
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
	return errors.New("head office still lacks record " + record + " after ten minutes")
}
