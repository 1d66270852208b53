/** What the wide-area lab's two routers do to packets. */
import * as Effect from "effect/Effect"
import { Lab, labAddresses } from "./Lab.ts"

const { wide } = labAddresses

/**
 * What a router does to UDP (RFC 4787): `fullCone` keeps the port and lets anybody in at it; `restricted` keeps the port
 * and lets in who was written to; `symmetric` takes another port for each destination.
 */
export type Nat = "fullCone" | "restricted" | "symmetric"

/** Flows under way keep the translation they have unless `forget`. */
export const setNat = Effect.fnUntraced(function* (home: "client" | "gateway", nat: Nat, forget = true) {
  const lab = yield* Lab
  const router = `${home}Router` as const
  yield* lab.attempt(router, ["nft", "delete", "table", "inet", "nat"])
  const inbound = `dnat ip to ${wide[home].v4}
    iifname wide meta nfproto ipv6 udp dport 1024-65535 dnat ip6 to ${wide[home].v6}`
  yield* lab.exec(router, ["nft", "-f", "-"], {
    input: `table inet nat {
  chain in {
    type nat hook prerouting priority dstnat;
    ${nat === "fullCone" ? `iifname wide meta nfproto ipv4 udp dport 1024-65535 ${inbound}` : ""}
  }
  chain out {
    type nat hook postrouting priority srcnat;
    oifname wide masquerade ${nat === "symmetric" ? "fully-random" : ""}
  }
  chain input {
    # What nobody asked for leaves no trace: else its flow would keep the port that the home's answer needs.
    type filter hook input priority 0;
    iifname wide meta l4proto udp drop
  }
  chain forward {
    type filter hook forward priority 0;
    ct state established,related accept
    iifname outer accept
    ct status dnat accept
    drop
  }
}
`
  })
  if (forget) yield* lab.attempt(router, ["conntrack", "-F"])
})

/** The routers translate nothing: both homes are networks of the internet. For when nobody tells a host its public address. */
export const routePlainly = Effect.gen(function* () {
  const lab = yield* Lab
  const add = (host: "clientRouter" | "internet" | "gatewayRouter", home: "client" | "gateway") => {
    const { v4, v6 } = wide[`${home}Router`].wide
    return lab.exec(host, ["ip", "-batch", "-"], {
      input: `route replace ${wide[home].v4.replace(/\d+$/, "0")}/24 via ${v4}
route replace ${wide[home].v6.replace(/::.*$/, "::")}/64 via ${v6}
`
    })
  }
  yield* add("clientRouter", "gateway")
  yield* add("gatewayRouter", "client")
  yield* add("internet", "client")
  yield* add("internet", "gateway")
})

/** Drops what goes directly between the two homes: only relays are left. */
export const blockDirect = Effect.fnUntraced(function* (on: boolean) {
  const lab = yield* Lab
  yield* lab.attempt("gatewayRouter", ["nft", "delete", "table", "inet", "block"])
  if (!on) return
  const other = wide.clientRouter.wide
  yield* lab.exec("gatewayRouter", ["nft", "-f", "-"], {
    input: `table inet block {
  chain both {
    type filter hook prerouting priority -400;
    ip saddr ${other.v4} drop
    ip6 saddr ${other.v6} drop
  }
  chain out {
    type filter hook postrouting priority 400;
    ip daddr ${other.v4} drop
    ip6 daddr ${other.v6} drop
  }
}
`
  })
})
