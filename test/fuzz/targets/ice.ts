/**
 * A gateway and a client that have found each other by ICE and relays, and an attacker who repeats, bends and forges
 * what is on the wire: nothing throws, and the two find each other again.
 */
import { makeEndpoint } from "../../../src/packet/endpoint.ts"
import { clientAddress, gatewayAddress, healsIn, type Host, IcePair, World } from "../../support/iceWorld.ts"
import { addressWords } from "../../support/packets.ts"
import { Mutator } from "../Mutator.ts"
import type { Random } from "../Random.ts"
import { invariant, type Target } from "../Target.ts"

const udpPort = 52_625
const addresses = ["203.0.113.1", "203.0.113.2", clientAddress, gatewayAddress, "198.51.100.200", "198.51.100.9"]
const ports = [3_478, udpPort, 40_000, 49_152]
const lifetime = 60
const healsWithin = 20_000
const maxSteps = 60

const connected = (relayed: boolean, random: Random): IcePair => {
  const pair = new IcePair(new World((into) => random.fill(into)))
  if (relayed) pair.world.drops = ({ from, to }) => from.port === udpPort && to.port === udpPort
  const first = pair.addRelay("a", "203.0.113.1", "198.51.100.9")
  const second = pair.addRelay("b", "203.0.113.2", "198.51.100.10")
  pair.relays(first.relay, second.relay)
  pair.hosts(pair.gateway, gatewayAddress)
  pair.hosts(pair.client, clientAddress)
  pair.introduce()
  pair.world.run(1_500)
  invariant(healsIn(pair, 5_000) < 5_000, "a fresh pair connects")
  return pair
}

/** One datagram of the past, as it was or bent, from its sender or from another, to one of the two. */
const inject = (pair: IcePair, step: Uint8Array, mutator: Mutator): void => {
  const [high, low, who, from, how, other] = step as unknown as readonly [
    number,
    number,
    number,
    number,
    number,
    number
  ]
  const { world } = pair
  const recorded = world.wire[(high * 256 + low) % world.wire.length]!
  const host: Host = who % 2 === 1 ? pair.gateway : pair.client
  const endpoint = makeEndpoint()
  const honest = (who & 6) === 0
  Object.assign(endpoint.remote, honest ? recorded.from.address : addressWords(addresses[from % addresses.length]!))
  endpoint.port = honest ? recorded.from.port : ports[from >> 6]!
  Object.assign(endpoint.local, addressWords(host === pair.gateway ? gatewayAddress : clientAddress))
  const bent = how % 6 >= 2
  const bytes = bent
    ? mutator.mutate(recorded.bytes, world.wire[other % world.wire.length]!.bytes)
    : recorded.bytes.slice()
  if (bytes.length === 0) return
  host.io.arrive(endpoint, bytes)
  world.settle()
  if (how % 6 === 5) world.run(other * 20)
  // The wire remembers everything.
  if (world.wire.length > 3_000) world.wire.splice(0, world.wire.length - 500)
}

const start = (random: Random): ((input: Uint8Array) => void) => {
  const pair = connected(random.below(2) === 1, random)
  const mutator = new Mutator(random, [], 1_500)
  let lived = 0
  return (input) => {
    for (let at = 0; at + 6 <= input.length && at < 6 * maxSteps; at += 6) {
      inject(pair, input.subarray(at, at + 6), mutator)
    }
    for (const host of [pair.gateway, pair.client]) host.received.length = 0
    if (++lived % 12 === 0) invariant(healsIn(pair, healsWithin) < healsWithin, "dead for 20 s after hostile datagrams")
  }
}

export const target: Target = {
  seeds: [
    Uint8Array.from({ length: 64 }, (_, i) => i * 11),
    new Uint8Array(40),
    Uint8Array.from({ length: 200 }, (_, i) => i * 13)
  ],
  dictionary: [],
  maxLength: 2_000,
  lifetime,
  bound: 1_000,
  start
}
