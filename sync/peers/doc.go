// Package peers reads what poshub publishes with the programs of others: here the
// CloudEvents SDK for Go. It is a module of its own, so that poshub does not carry them.
package peers
