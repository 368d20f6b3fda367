// Setup makes a terminal out of a board that boots posd's image: it takes over what a
// technician has put into the folder posd of the first partition, which every PC can
// write, makes journal and keys, and lets posd start.
//
//	posd/posd.toml         configuration; without it nothing else is done
//	posd/hub.enroll_token  one-time token of the hub, or hub.token, hub.creds: taken over and deleted here
//	posd/hub-ca.pem        authority of the hub's certificate
//	posd/items.csv         catalogue
//	posd/listen.conf       drop-in of posd.socket, to listen elsewhere than 127.0.0.1:8080
//	posd/network.network   for systemd-networkd, instead of DHCP
//	posd/timesyncd.conf    drop-in of systemd-timesyncd, to name time servers
//	posd/root.password     a crypt(3) hash (openssl passwd -6): lets root log in at the
//	                       console. Without one nobody can
//
// What was taken over is renamed to NAME.installed, secrets are deleted. The same
// files, written there again later, are taken over at the next start; only posd.toml
// of another terminal is refused, by posd. posd/terminal.txt is written for the asset
// list: terminal, journal, public key.
//
// # Power cuts
//
// Every step can be cut and is then done again at the next start: files come in
// place by rename after a sync, the note that the terminal is set up
// (/var/lib/posd-image/done) is written when all the rest is durable, and only then
// is anything on the first partition touched. The journal is made where there is none
// and the note is not there either; a note without a journal means that sales were
// lost, and is said, never repaired with an empty journal.
//
// # What can go wrong
//
//   - No posd.toml, or one with mistakes: the console says what to do and lists the
//     mistakes; the rest of the system is up, posd is not started. At a terminal
//     that was set up before, the old configuration stays.
//   - items.csv has mistakes: said, and left; the terminal sells without it.
//   - The first partition cannot be mounted: a terminal that is set up starts.
//
// Commands: first-boot, factory-reset, bless, resolv. Each is started by a unit of the image.
package main
