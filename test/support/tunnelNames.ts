/** A gateway whose tunnel DNS is asked, and what is asked of it. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as DataPlaneRecording from "../../layers/memory/DataPlaneRecording.ts"
import { answer, ResolverScript } from "../../layers/memory/ResolverMemory.ts"
import * as StateStoreMemory from "../../layers/memory/StateStoreMemory.ts"
import { emptyMessage, type Message, type ResourceRecord } from "../../src/dns/message.ts"
import { classInternet, recordType } from "../../src/dns/registry.ts"
import type { TunnelAnswer } from "../../src/dns/tunnelAnswer.ts"
import type { GatewayConfig } from "../../src/config/GatewayConfig.ts"
import { TunnelNames } from "../../src/control/standalone/TunnelNames.ts"
import { dnsResource } from "./access.ts"
import { tunnel4 } from "./engineWorld.ts"
import { configOf, layerDisk, layerNames } from "./standalone.ts"

export const corp = dnsResource("**.corp", { resolver: "corp" })

export const config = configOf([corp])

export const git = dnsResource("git.corp")

export const layerStore = layerDisk(StateStoreMemory.layer)

/** Names exist unless a test says something else. */
export const layerFound = Layer.effectDiscard(
  Effect.flatMap(ResolverScript, (script) => script.set("*", answer(["10.0.0.1", "fd5a::1"])))
)

export const layerOn = (config: GatewayConfig) =>
  layerFound.pipe(
    Layer.provideMerge(layerNames(config)),
    Layer.provideMerge(DataPlaneRecording.layer),
    Layer.provideMerge(layerStore)
  )

export const layer = layerOn(config)

export const script = Effect.fnUntraced(function* (
  ...[domain, behaviour]: Parameters<ResolverScript["Service"]["set"]>
) {
  yield* (yield* ResolverScript).set(domain, behaviour)
})

export const addresses = (answer: TunnelAnswer): ReadonlyArray<string> => {
  if (answer._tag !== "Addresses") return assert.fail(answer._tag)
  return answer.addresses
}

export const record = (name: string, data: ResourceRecord["data"], type: number): ResourceRecord => ({
  name,
  type,
  class: classInternet,
  ttl: 60,
  data
})

export const addressRecord = (name: string, address: string): ResourceRecord =>
  record(name, { _tag: "Address", address }, address.includes(":") ? recordType.AAAA : recordType.A)

export const reply = (over: Partial<Message>): Message => ({ ...emptyMessage, response: true, ...over })

/** What is known without a lookup, a wait or a write. */
export const known = (domain: string, type: number = recordType.A, source = tunnel4(1)) =>
  Effect.map(TunnelNames, (names) => names.known(source, { domain, type, family: familyOf(type), reverse: null }))

const familyOf = (type: number) => (type === recordType.A ? 4 : type === recordType.AAAA ? 6 : null)

export const isKnown = (...question: Parameters<typeof known>) =>
  Effect.map(known(...question), (answer) => answer !== undefined)
