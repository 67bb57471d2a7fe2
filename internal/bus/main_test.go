package bus_test

import (
	"testing"

	"github.com/weirstream/weir/internal/bustest"
)

func TestMain(m *testing.M) { bustest.Main(m) }
