/** Which batches of packets the data plane asks the kernel for: all, unless `SALLYPORT_OFFLOADS` says otherwise. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"

/**
 * `gso`: several datagrams per send. `gro`: several per receive. `tso`: super-packets from the TUN device.
 * `join`: super-packets to it (needs `tso`). `simd`: checksums in WebAssembly.
 */
export interface OffloadSwitches {
  readonly gso: boolean
  readonly gro: boolean
  readonly tso: boolean
  readonly join: boolean
  readonly simd: boolean
}

const names = ["gso", "gro", "tso", "join", "simd"] as const

/** `all`, `none`, or a list such as `gso,tso`; unknown words are told and ignored. */
export const readOffloads: Effect.Effect<OffloadSwitches> = Effect.gen(function* () {
  const text = yield* Config.withDefault(Config.String("SALLYPORT_OFFLOADS"), "all").pipe(
    Effect.orElseSucceed(() => "all")
  )
  const words = text.split(",").map((word) => word.trim())
  const unknown = words.filter((word) => !["all", "none", "", ...names].includes(word))
  if (unknown.length > 0) {
    yield* Effect.logWarning(
      `SALLYPORT_OFFLOADS does not know ${unknown.join(", ")}: use all, none or ${names.join(",")}`
    )
  }
  const on = (name: (typeof names)[number]): boolean => words.includes("all") || words.includes(name)
  return { gso: on("gso"), gro: on("gro"), tso: on("tso"), join: on("join") && on("tso"), simd: on("simd") }
})
