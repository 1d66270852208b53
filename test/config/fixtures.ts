/** Keys for tests: 32 equal bytes, in base64. */
export const key = (n: number): string => Buffer.alloc(32, n).toString("base64")

/** A whole file with every section, with real keys. */
export const example = `endpoint: vpn.example.com:51820
resolvers: { corp: [udp://10.0.0.53, "udp://[fd12::53]:5353"] }
clients:
  alice-laptop: { public_key: "${key(1)}", groups: [eng] }
  bob: { public_key: "${key(2)}", preshared_key: "${key(9)}", tunnel_ipv4: 100.64.0.77 }
resources:
  gitlab:   { name: GitLab.corp.internal., ports: [tcp/22, udp/8000-8100, tcp, icmp], resolver: corp, allow: [eng] }
  services: { name: "*.svc.corp.internal", allow: [eng, bob], expires: 2027-01-01 }
  lab:      { cidr: 10.20.0.0/16, allow: [alice-laptop], allow_metadata: true, allow_loopback: false }
  web:      { internet: true, allow: [bob], expires: 2027-01-01T12:00:00+02:00 }
`
