package httpapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// socketUsers are the users whose programs need no token on the unix socket, by number,
// with the name that their front end gets. The kernel says who is at the other end of a
// unix socket: no program can say it is another's.
func (s *Server) socketUsers(passwd, uidMap string) map[uint32]string {
	if len(s.o.HTTP.SocketUsers) == 0 {
		return nil
	}
	known, err := readUsers(passwd)
	if err != nil {
		s.o.Log.Error("users of the socket cannot be looked up", "error", err)
	}
	users := map[uint32]string{}
	for _, name := range s.o.HTTP.SocketUsers {
		uid, ok := known[name]
		if n, err := strconv.ParseUint(name, 10, 32); !ok && err == nil {
			uid, ok = uint32(n), true
		}
		switch {
		case !ok:
			s.o.Log.Error("there is no such user: nobody is let in for it", "http.socket_users", name)
		case uid == unknownUser:
			s.o.Log.Error("this user stands for everybody whom posd cannot tell apart: nobody is let in for it", "http.socket_users", name)
		case !mapped(uidMap, uid):
			s.o.Log.Error("posd cannot tell who this user is: nobody is let in for it; give posd.service PrivateUsers=no (docs/operate.md)", "http.socket_users", name)
		default:
			users[uid] = "user:" + name
		}
	}
	return users
}

const mostPasswd = 1 << 20

// unknownUser is whom the kernel names for a user who is not in posd's user namespace.
const unknownUser = 65534

// mapped says whether posd's user namespace, whose map is in that file, has the user:
// else programs of all such users look the same. A machine without namespaces has all.
func mapped(path string, uid uint32) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 {
			first, bad := strconv.ParseUint(f[0], 10, 32)
			count, worse := strconv.ParseUint(f[2], 10, 32)
			if bad == nil && worse == nil && uint64(uid) >= first && uint64(uid)-first < count {
				return true
			}
		}
	}
	return false
}

// readUsers reads names and numbers from a file such as /etc/passwd. Package os/user
// would do it for 30 kB.
func readUsers(path string) (map[string]uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	users := map[string]uint32{}
	sc := bufio.NewScanner(io.LimitReader(f, mostPasswd))
	for sc.Scan() {
		part := strings.SplitN(sc.Text(), ":", 4)
		if len(part) < 4 {
			continue
		}
		if uid, err := strconv.ParseUint(part[2], 10, 32); err == nil {
			users[part[0]] = uint32(uid)
		}
	}
	return users, sc.Err()
}

// peer is the front end of a request over the unix socket whose user needs no token.
func (s *Server) peer(r *http.Request) (front string, ok bool) {
	if len(s.users) == 0 || !onSocket(r) {
		return "", false
	}
	c := connOf(r)
	if c == nil {
		return "", false
	}
	uid, ok := uidOf(c.Conn)
	if ok {
		front, ok = s.users[uid]
	}
	return front, ok
}

// uidOf asks the kernel who opened the other end of a unix socket.
func uidOf(c net.Conn) (uid uint32, ok bool) {
	u, isUnix := c.(*net.UnixConn)
	if !isUnix {
		return 0, false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, false
	}
	var cred *syscall.Ucred
	bad := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if bad != nil || err != nil {
		return 0, false
	}
	return cred.Uid, true
}
