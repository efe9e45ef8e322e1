// Package monitoring tests what watches a release: alerts, dashboards and the
// templates that install them. What needs more than Go is skipped where it is
// missing; `make monitoring` brings it and wants all of it to run.
package monitoring
