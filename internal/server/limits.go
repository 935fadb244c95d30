package server

import "time"

// Every default below is a flag or an Options field; this is the one place
// where their values and reasons stand.
const (
	// DefaultAddr is reachable from this machine only.
	DefaultAddr = "127.0.0.1:8080"
	// DefaultTextTokens is the most tokens of one text: some seconds of work on a
	// small machine, for which everybody else waits.
	DefaultTextTokens = 2048
	// DefaultMaxBody is the largest request body in bytes.
	DefaultMaxBody = 1 << 20
	// DefaultRequestTimeout is how long a request may take from its headers to
	// its answer. Its body, its wait and its computation all count.
	DefaultRequestTimeout = 30 * time.Second
	// DefaultHeaderTimeout cuts clients that never finish their headers.
	DefaultHeaderTimeout = 5 * time.Second
	// DefaultReadTimeout cuts clients that dribble their body.
	DefaultReadTimeout = 10 * time.Second
	// DefaultIdleTimeout closes kept-alive connections that ask nothing.
	DefaultIdleTimeout = 60 * time.Second
	// DefaultShutdownTimeout is how long accepted requests get to finish. It is
	// never below 6 s, because net/http waits 5 s for a connection that has
	// not sent a request yet.
	DefaultShutdownTimeout = 20 * time.Second
)

const (
	// writeGrace is what a slow reader gets beyond the request's own deadline.
	writeGrace = 5 * time.Second
	// maxHeaderBytes bounds the headers; ours need a few hundred bytes.
	maxHeaderBytes = 16 << 10
	// maxConns bounds open connections, below the usual limit of open files.
	maxConns = 4096
	// maxItems bounds the texts of one request, so that a body of empty strings
	// cannot cost many times its size.
	maxItems = 4096
	// bodiesInFlight is how many bodies of the largest size may be held at once.
	// A request beyond that is refused, unless it is the only one.
	bodiesInFlight = 32
	// smallBody is a body, in bytes, that is read however many are held.
	smallBody = 16 << 10
	// shutdownGrace is added to the request timeout when the server stops.
	shutdownGrace = 2 * time.Second
	// startingRetry and busyRetry are when to come back to a server that loads
	// its model, and to one that holds too many bodies.
	startingRetry = time.Second
	busyRetry     = time.Second
	// minKeyLength refuses API keys that can be guessed.
	minKeyLength = 16
)
