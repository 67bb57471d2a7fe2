package main

import (
	"net/url"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/weirstream/weir/gateway/export"
)

// remoteWriteFlags say what the gateway sends by remote write, and where to.
type remoteWriteFlags struct {
	url               string
	headers           []string
	headersFile       string
	ca, cert, key     string
	labels            []string
	histograms        string
	timeout, interval time.Duration
}

// add adds them. All but the first are for files and the environment:
// docs/export.md lists them, --help doesn't.
func (f *remoteWriteFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "remote-write-url", "", "`URL` that histograms are sent to by Prometheus remote write; other settings remote-write-… are in docs/export.md")
	hidden := pflag.NewFlagSet("remote-write", pflag.ContinueOnError)
	hidden.StringSliceVar(&f.headers, "remote-write-headers", nil, "`name=value` pairs sent with each request")
	hidden.StringVar(&f.headersFile, "remote-write-headers-file", "", "`file` of more of them, one a line")
	hidden.StringVar(&f.ca, "remote-write-ca", "", "`file` of the CA of the receiver's certificate (default the system's)")
	hidden.StringVar(&f.cert, "remote-write-cert", "", "`file` of a client certificate, and")
	hidden.StringVar(&f.key, "remote-write-key", "", "`file` of its key")
	hidden.StringSliceVar(&f.labels, "remote-write-labels", nil, "`name=value` pairs that every series has (default job=weir and instance=HOSTNAME)")
	hidden.StringVar(&f.histograms, "remote-write-histograms", "native", "native, classic or both")
	hidden.DurationVar(&f.timeout, "remote-write-timeout", 30*time.Second, "how long a request may take")
	hidden.DurationVar(&f.interval, "remote-write-interval", 15*time.Second, "how often histograms are sent")
	hidden.VisitAll(func(h *pflag.Flag) { h.Hidden = true })
	flags.AddFlagSet(hidden)
}

// config checks the settings; the zero value sends nothing.
func (f *remoteWriteFlags) config() (export.RemoteWrite, error) {
	if f.url == "" {
		return export.RemoteWrite{}, nil
	}
	u, err := url.Parse(f.url)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https": // it may hold a password
		err = usagef("remote-write-url is not a URL such as http://prometheus:9090/api/v1/write")
	case f.histograms != "native" && f.histograms != "classic" && f.histograms != "both":
		err = usagef("remote-write-histograms %q is not native, classic or both", f.histograms)
	case f.timeout <= 0 || f.interval < time.Second:
		err = usagef("remote-write-timeout has to be above 0, remote-write-interval a second or more")
	case (f.cert == "") != (f.key == ""):
		err = usagef("remote-write-cert and remote-write-key go together: give both")
	}
	if err != nil {
		return export.RemoteWrite{}, err
	}
	headers, err := readHeaders("remote-write", f.headers, f.headersFile)
	if err != nil {
		return export.RemoteWrite{}, err
	}
	labels, err := nameValues("remote-write-labels: number", f.labels)
	if err != nil {
		return export.RemoteWrite{}, err
	}
	for _, own := range []string{"__name__", "le"} {
		if _, given := labels[own]; given {
			return export.RemoteWrite{}, usagef("remote-write-labels: %s is what a series has of its own", own)
		}
	}
	if len(labels) == 0 {
		host, err := os.Hostname()
		if err != nil {
			return export.RemoteWrite{}, usagef("this host has no name (%w): give remote-write-labels", err)
		}
		labels = map[string]string{"job": "weir", "instance": host}
	}
	return export.RemoteWrite{
		URL: f.url, Headers: headers, CA: f.ca, Cert: f.cert, Key: f.key, Labels: labels, Timeout: f.timeout, Interval: f.interval,
		Native: f.histograms != "classic", Classic: f.histograms != "native",
	}, nil
}
