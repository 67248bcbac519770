# Sourced after tests/fs/lib.sh: servers.py and proxy.py for shell scripts. Server's user is that of the store's kind; secret: $secret.
# shellcheck shell=bash

servers=$here/tests/sync/servers
secret='sesame-open'
chmod 711 "$work" # a server that root starts is somebody else

# start_server KIND NAME: sets $url and $server_dir; the login is in $work/NAME.login.
start_server() {
  local user=alice out=$work/$2.url pid fd
  [[ $1 == swift ]] && user=test:tester
  server_dir=$work/$2
  mkdir -p "$server_dir"
  printf '%s\n%s\n' "$user" "$secret" >"$work/$2.login"
  mkfifo "$work/$2.in"
  exec {fd}<>"$work/$2.in"
  python3 "$servers/servers.py" "$1" "$server_dir" --user "$user" --secret "$secret" <"$work/$2.in" >"$out" 2>"$work/$2.log" &
  pid=$!
  at_end+=("kill $pid 2>/dev/null; wait $pid 2>/dev/null; exec $fd>&-")
  wait_for 30 test -s "$out" || { bad "$1 does not start"; cat "$work/$2.log" >&2; return 1; }
  url=$(cat "$out")
}

# start_proxy NAME: between us and the server of $url, which it sets to go through it.
start_proxy() {
  local address pid
  address=$(sed 's|.*http://\([^/&]*\).*|\1|' <<<"$url")
  mkfifo "$work/$1.in" "$work/$1.out"
  exec {proxy_in}<>"$work/$1.in" {proxy_out}<>"$work/$1.out"
  python3 "$servers/proxy.py" "$address" <"$work/$1.in" >"$work/$1.out" &
  pid=$!
  at_end+=("kill $pid 2>/dev/null; wait $pid 2>/dev/null")
  read -r -t 20 proxy_address <&"$proxy_out" || { bad "the proxy does not start"; return 1; }
  url=${url/$address/$proxy_address}
}
# proxy COMMAND: the answer is in $answer.
proxy() {
  echo "$*" >&"$proxy_in"
  read -r -t 10 answer <&"$proxy_out"
}
proxy_up() { # bytes that went to the server so far
  proxy stats
  sed 's/.* up=\([0-9]*\).*/\1/' <<<"$answer"
}
went_up() { [[ $(proxy_up) -ge $1 ]]; }
