/** The wide-area lab is what the other tests take it for. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { blockDirect, inWideLab, type Nat, setNat, wide } from "../support/wide.ts"

/** Answers each datagram with its source port. */
const reflector = (address: string): string =>
  `const s=require("dgram").createSocket("${address.includes(":") ? "udp6" : "udp4"}")
s.on("message",(m,r)=>s.send(String(r.port),r.port,r.address)).bind(9,"${address}",()=>console.log("up"))`

/** Sends from one port, 5555, to each address and prints the ports that they saw, or \`-\`. */
const asker = (addresses: ReadonlyArray<string>): string =>
  `const s=require("dgram").createSocket("${addresses[0]!.includes(":") ? "udp6" : "udp4"}"),seen={}
const end=()=>{console.log(JSON.stringify(${JSON.stringify(addresses)}.map(a=>seen[a]??"-")));process.exit(0)}
s.on("message",(m,r)=>{seen[r.address]=String(m);if(Object.keys(seen).length===${addresses.length})end()})
s.bind(5555,()=>{for(const a of ${JSON.stringify(addresses)})s.send("?",9,a)});setTimeout(end,1500)`

const node = (script: string): ReadonlyArray<string> => [process.execPath, "-e", script]

const portsSeen = Effect.fnUntraced(function* (addresses: ReadonlyArray<string>) {
  const lab = yield* Lab
  return JSON.parse(yield* lab.exec("client", node(asker(addresses)))) as ReadonlyArray<string>
})

it.live("routers translate as asked: same port or another one for each destination", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    for (const address of [wide.relay.v4, wide.otherRelay.v4, wide.relay.v6, wide.otherRelay.v6]) {
      const child = yield* lab.spawn("internet", node(reflector(address)))
      yield* Effect.repeat(child.output, { until: (text) => text.includes("up") })
    }
    const pairs = [
      [wide.relay.v4, wide.otherRelay.v4],
      [wide.relay.v6, wide.otherRelay.v6]
    ]
    const seen: Partial<Record<Nat, ReadonlyArray<ReadonlyArray<string>>>> = {}
    for (const nat of ["fullCone", "restricted", "symmetric"] as const) {
      yield* setNat("client", nat)
      seen[nat] = yield* Effect.forEach(pairs, portsSeen)
    }

    const kept = ["5555", "5555"]
    assert.deepStrictEqual(seen.fullCone, [kept, kept])
    assert.deepStrictEqual(seen.restricted, [kept, kept])
    for (const [a, b] of seen.symmetric ?? []) {
      assert.notStrictEqual(a, "-")
      assert.notStrictEqual(b, "-")
      assert.notStrictEqual(a, b)
    }
  }).pipe(inWideLab)
)

it.live("a full cone lets a stranger in, a restricted one does not, and the direct way can be blocked", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const child = yield* lab.spawn("gateway", node(reflector("0.0.0.0").replace("bind(9,", "bind(9999,")))
    yield* Effect.repeat(child.output, { until: (text) => text.includes("up") })
    const ask = node(asker([wide.gatewayRouter.wide.v4]).replace('"?",9,', '"?",9999,'))
    const tries: Array<string> = []
    for (const nat of ["restricted", "fullCone"] as const) {
      yield* setNat("gateway", nat)
      tries.push((yield* lab.exec("client", ask)).trim())
    }
    yield* blockDirect(true)
    tries.push((yield* lab.exec("client", ask)).trim())
    yield* blockDirect(false)
    tries.push((yield* lab.exec("client", ask)).trim())

    assert.deepStrictEqual(tries, ['["-"]', '["5555"]', '["-"]', '["5555"]'])
  }).pipe(inWideLab)
)
