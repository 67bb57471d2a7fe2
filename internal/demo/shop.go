package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// service is one service of the shop.
type service struct {
	name    string
	workers int           // requests worked on at once; others wait unread
	least   time.Duration // of work, besides what it calls
	most    time.Duration
	answer  func(*shop, *http.Request) response
}

type response struct {
	status int
	body   string
}

// services of the shop. At the rate of the load, payment is busy for about
// four fifths of the time: its queue, not its work, is what callers feel.
func services() []service {
	return []service{
		{"frontend", 64, 0, time.Millisecond, (*shop).frontend},
		{"catalogue", 32, 2 * time.Millisecond, 6 * time.Millisecond, (*shop).catalogue},
		{"cart", 32, 3 * time.Millisecond, 8 * time.Millisecond, (*shop).cart},
		{"stock", 32, time.Millisecond, 3 * time.Millisecond, (*shop).stock},
		{"payment", 1, 32 * time.Millisecond, 34 * time.Millisecond, (*shop).payment},
	}
}

const (
	outOfOrder = 0.02  // share of stock's answers that are errors
	declined   = 0.015 // share of payment's
)

// shop is what a service knows of the others.
type shop struct {
	address func(service string) string
	client  *http.Client
}

func newShop(address func(string) string) *shop {
	// Connections are kept and bounded: the demo is about requests.
	transport := &http.Transport{MaxConnsPerHost: maxInFlight, MaxIdleConnsPerHost: maxInFlight, DisableCompression: true}
	return &shop{address: address, client: &http.Client{Transport: transport}}
}

// call sends a request to a service and reads all of the answer. The status is
// 502 if there is none.
func (s *shop) call(ctx context.Context, method, service, path string) response {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.address(service)+path, nil)
	if err != nil {
		return response{http.StatusBadGateway, err.Error()}
	}
	trace(ctx, r)
	answer, err := s.client.Do(r)
	if err != nil {
		return response{http.StatusBadGateway, err.Error()}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return response{http.StatusBadGateway, err.Error()}
	}
	return response{answer.StatusCode, string(body)}
}

func (s *shop) frontend(r *http.Request) response {
	ctx := r.Context()
	switch {
	case r.URL.Path == "/":
		return s.call(ctx, "GET", "catalogue", "/products")
	case strings.HasPrefix(r.URL.Path, "/products/"):
		return s.call(ctx, "GET", "catalogue", r.URL.Path)
	case r.Method == "POST" && r.URL.Path == "/cart/items":
		return s.call(ctx, "POST", "cart", "/items")
	case r.Method == "POST" && r.URL.Path == "/checkout":
		if cart := s.call(ctx, "GET", "cart", fmt.Sprintf("/carts/%d", rand.IntN(1000))); cart.status != http.StatusOK {
			return cart
		}
		if paid := s.call(ctx, "POST", "payment", "/charges"); paid.status >= 500 {
			return response{http.StatusBadGateway, "payment failed\n"}
		}
		return response{http.StatusCreated, "thank you\n"}
	}
	return response{http.StatusNotFound, "the shop has /, /products/7, POST /cart/items and POST /checkout\n"}
}

func (s *shop) catalogue(r *http.Request) response {
	if id, ok := strings.CutPrefix(r.URL.Path, "/products/"); ok {
		left := s.call(r.Context(), "GET", "stock", "/stock/"+id)
		return response{http.StatusOK, "product " + id + ": " + left.body} // also when stock is out of order
	}
	return response{http.StatusOK, strings.Repeat("a product\n", 200)}
}

func (s *shop) cart(r *http.Request) response {
	if r.Method == "POST" {
		if left := s.call(r.Context(), "GET", "stock", fmt.Sprintf("/stock/%d", rand.IntN(200))); left.status >= 500 {
			return response{http.StatusServiceUnavailable, "try again\n"}
		}
		return response{http.StatusCreated, "in the cart\n"}
	}
	return response{http.StatusOK, "3 things\n"}
}

func (s *shop) stock(*http.Request) response {
	if rand.Float64() < outOfOrder {
		return response{http.StatusServiceUnavailable, "the shelf is being counted\n"}
	}
	return response{http.StatusOK, "12 left\n"}
}

func (s *shop) payment(*http.Request) response {
	if rand.Float64() < declined {
		return response{http.StatusInternalServerError, "the bank doesn't answer\n"}
	}
	return response{http.StatusOK, "paid\n"}
}
