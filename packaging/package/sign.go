package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"aead.dev/minisign"
)

// Files beside the packages.
const (
	sumsFile      = "SHA256SUMS"
	signatureFile = sumsFile + ".minisig"
	publicFile    = "posd.pub"
)

// passwordFile names the file with the password of a release key that has one.
const passwordFile = "RELEASE_KEY_PASSWORD_FILE"

// What SHA256SUMS covers. The packages are signed by themselves: an image that lies
// beside them may be of another release. It is signed with them on request, when it was
// made of them.
var (
	packageFiles = []string{"posd_*.deb", "posd_*.ipk", "posd_*" + contentsSuffix}
	imageFiles   = []string{"posd*.img", "posd*.img.*"}
)

// seal writes checksums and signature, verifies them, and proves that this
// verification refuses a changed byte.
func seal(dir, keyFile string, patterns []string, out io.Writer) error {
	sums, err := checksums(dir, patterns)
	if err != nil {
		return err
	}
	key, trusted, err := signingKey(keyFile)
	if err != nil {
		return err
	}
	public, err := key.Public().(minisign.PublicKey).MarshalText()
	if err != nil {
		return err
	}
	h := minisign.NewReader(bytes.NewReader(sums))
	if _, err := io.Copy(io.Discard, h); err != nil {
		return err
	}
	for name, b := range map[string][]byte{
		sumsFile: sums, publicFile: append(public, '\n'), signatureFile: h.SignWithComments(key, trusted, "signature of "+sumsFile),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	n, err := verify(dir, "")
	if err != nil {
		return fmt.Errorf("what was just signed does not verify: %w", err)
	}
	if err := provesChange(dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d files, signed and verified, a changed byte is refused\n", filepath.Join(dir, sumsFile), n)
	fmt.Fprintln(out, "signature:", trusted)
	return nil
}

// signingKey returns the release key, or makes a key that only this build will know.
func signingKey(file string) (key minisign.PrivateKey, trusted string, err error) {
	if file == "" {
		_, key, err = minisign.GenerateKey(rand.Reader)
		return key, "not a release key: made for this build and thrown away", err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return key, "", fmt.Errorf("the release key: %w", err)
	}
	if !minisign.IsEncrypted(b) {
		if err := key.UnmarshalText(b); err != nil {
			return key, "", fmt.Errorf("the release key %s: %w", file, err)
		}
		return key, "posd release", nil
	}
	password, err := os.ReadFile(os.Getenv(passwordFile))
	if err != nil {
		return key, "", fmt.Errorf("the release key %s has a password: name a file with it in %s: %w", file, passwordFile, err)
	}
	if key, err = minisign.DecryptKey(strings.TrimRight(string(password), "\r\n"), b); err != nil {
		return key, "", fmt.Errorf("the release key %s: %w", file, err)
	}
	return key, "posd release", nil
}

// checksums returns the text of SHA256SUMS for what is in dir, as sha256sum -c reads it.
func checksums(dir string, patterns []string) ([]byte, error) {
	seen := map[string]bool{}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			seen[filepath.Base(path)] = true
		}
	}
	if len(seen) == 0 {
		return nil, fmt.Errorf("no packages in %s", dir)
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	sort.Strings(names)
	var text bytes.Buffer
	for _, name := range names {
		sum, err := sumOf(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&text, "%x  %s\n", sum, name)
	}
	return text.Bytes(), nil
}

func sumOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

var (
	errSignature = errors.New("the signature is not this key's")
	errChecksum  = errors.New("the file is not the one that was signed")
)

// verify checks the signature over the checksums and each file against its own, and
// returns how many there are.
func verify(dir, publicKey string) (files int, err error) {
	if publicKey == "" {
		publicKey = filepath.Join(dir, publicFile)
	}
	key, err := minisign.PublicKeyFromFile(publicKey)
	if err != nil {
		return 0, fmt.Errorf("the public key: %w", err)
	}
	sums, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return 0, err
	}
	signature, err := os.ReadFile(filepath.Join(dir, signatureFile))
	if err != nil {
		return 0, err
	}
	h := minisign.NewReader(bytes.NewReader(sums))
	if _, err := io.Copy(io.Discard, h); err != nil {
		return 0, err
	}
	if !h.Verify(key, signature) {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dir, sumsFile), errSignature)
	}
	for line := range strings.Lines(string(sums)) {
		want, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || name != filepath.Base(name) {
			return 0, fmt.Errorf("%s: %q is not a checksum", sumsFile, line)
		}
		sum, err := sumOf(filepath.Join(dir, name))
		if err != nil {
			return 0, err
		}
		if fmt.Sprintf("%x", sum) != want {
			return 0, fmt.Errorf("%s: %w", filepath.Join(dir, name), errChecksum)
		}
		files++
	}
	return files, nil
}

// provesChange changes a byte in a copy of a signed file of dir, and one in a copy of
// the checksums: both must be refused, else verify proves nothing.
func provesChange(dir string) error {
	sums, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}
	copied, err := os.MkdirTemp("", "posd-verify-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(copied)
	names := []string{sumsFile, signatureFile, publicFile}
	for line := range strings.Lines(string(sums)) {
		_, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		names = append(names, name)
	}
	for _, name := range names {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if err == nil {
			err = os.Symlink(path, filepath.Join(copied, name))
		}
		if err != nil {
			return err
		}
	}
	for _, c := range []struct {
		name string
		want error
	}{{names[len(names)-1], errChecksum}, {sumsFile, errSignature}} {
		path := filepath.Join(copied, c.name)
		original, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		changed := bytes.Clone(original)
		changed[len(changed)/2] ^= 1
		if err := errors.Join(os.Remove(path), os.WriteFile(path, changed, 0o644)); err != nil {
			return err
		}
		if _, err := verify(copied, ""); !errors.Is(err, c.want) {
			return fmt.Errorf("a changed byte in %s was not refused as it should be: %v", c.name, err)
		}
		if err := os.WriteFile(path, original, 0o644); err != nil {
			return err
		}
	}
	if _, err := verify(copied, ""); err != nil {
		return err
	}
	return nil
}
