// Package figures shows what a benchmark measured: as tables for a terminal and for
// markdown, and in a document whose words are a template's.
package figures
