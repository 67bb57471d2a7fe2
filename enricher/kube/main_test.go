package kube

import (
	"os"
	"testing"

	apitest "github.com/weirstream/weir/test/kube"
)

var shared apitest.Shared

func TestMain(m *testing.M) {
	code := m.Run()
	shared.Stop()
	os.Exit(code)
}
