// Package report makes one HTML file of what the commands measured.
//
// The file needs nothing else: its script, its style and its data stand in it, and a content security policy forbids it
// to ask for more. What it shows is decided here: [newPage] makes sections of charts and tables out of documents, the
// template writes the tables, and assets/report.js draws the charts with Apache ECharts without knowing what they are
// about. Every chart has its numbers in a table beside it, so that the page can be read without its script.
//
// [Images] has the charts drawn as SVG files by a Chromium, for a README.
package report
