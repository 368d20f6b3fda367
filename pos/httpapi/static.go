package httpapi

import (
	"net/http"
	"os"
	"path"
	"strings"
)

// static serves the front end's files. os.Root keeps every path, symlinks
// included, within the folder; folders are not listed, hidden files not shown.
func (s *Server) static(w http.ResponseWriter, r *http.Request) int {
	missing := refuse("not-found", "there is nothing at this path")
	if s.o.HTTP.Static == "" {
		return missing.write(w)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return notAllowed(w, "GET, HEAD")
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	if strings.ContainsAny(name, "\\\x00") || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return missing.write(w)
	}
	root, err := os.OpenRoot(s.o.HTTP.Static) // each time: the folder may have been replaced
	if err != nil {
		s.o.Log.Warn("static folder cannot be opened", "error", err)
		return missing.write(w)
	}
	defer root.Close()
	if name == "" || strings.HasSuffix(r.URL.Path, "/") {
		name = path.Join(name, "index.html")
	}
	f, err := root.Open(name)
	if err != nil {
		return missing.write(w)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return missing.write(w)
	}
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, name, info.ModTime(), f)
	return http.StatusOK
}
