#!/bin/sh
# Asks one edge for everything that the lab has, again and again, until /tmp/stop is there. Runs in the lab's client:
#   load.sh EDGE
# HTTP over kept and new connections, TCP with a connection a command, UDP as name servers are asked. A line an answer.
edge=$1

more() { [ ! -e /tmp/stop ]; }

http() {
  while more; do
    curl -s -m 20 --rate 20/s -w 'http %{http_code} %{exitcode}\n' \
      "http://$edge:8080/red?[1-10]" "http://$edge:8080/blue?[1-10]"
  done
}

tcp() {
  while more; do
    for network in 1:red 2:blue; do
      echo "tcp ${network#*:} $(timeout 20 redis-cli -h "$edge" -p "630${network%:*}" get who 2>&1)"
    done
    sleep 0.1
  done
}

udp() {
  while more; do
    for network in 1:red 2:blue; do
      echo "udp ${network#*:} $(dig +short +tries=3 +time=3 "@$edge" -p "530${network%:*}" who.lab TXT 2>&1)"
    done
    sleep 0.1
  done
}

http &
tcp &
udp &
wait
