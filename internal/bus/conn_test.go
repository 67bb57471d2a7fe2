package bus

import "testing"

func TestAddressesAreShownWithoutPasswords(t *testing.T) {
	for in, want := range map[string]string{
		"nats://127.0.0.1:4222":                 "nats://127.0.0.1:4222",
		"tls://agent:secret@weir-nats:4222":     "tls://agent:xxxxx@weir-nats:4222",
		"nats://token@a:1, nats://u:secret@b:2": "nats://xxxxx@a:1,nats://u:xxxxx@b:2",
		"127.0.0.1:4222":                        "127.0.0.1:4222",
		"nats://u:secret%zz@a:1":                "a:1",
		"":                                      "",
	} {
		if got := redacted(in); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}
