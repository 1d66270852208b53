/** Takes the site's policy whenever there is a newer one. What a gateway goes by never falls back to an earlier version. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type { GatewayConfig } from "../../src/config/GatewayConfig.ts"
import { Registry } from "../../src/control/Registry.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { makeOddities } from "../../src/loops/oddities.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import type { OfferedPolicy } from "../../src/shared/SharedStore.ts"
import type { PolicyStanding, SiteMember } from "../../src/shared/Site.ts"
import { judgeOffer, type SitePolicy } from "../../src/shared/SitePolicy.ts"
import { keep, readKept } from "./keptPolicy.ts"

/** It is looked at that often without any news, too: a disk may be there again. */
const lookTime = "1 minute"

/** Until the scope closes; yields how it stands. */
export const followPolicy = Effect.fnUntraced(function* (
  { lookAtPolicy, policyNews, shared }: Pick<SiteMember, "lookAtPolicy" | "policyNews" | "shared">,
  stateDir: string
) {
  const registry = yield* Registry
  const loudly = makeOddities(Effect.logError)
  let kept = (yield* readKept(stateDir))?.token ?? null
  /** Judged, and not taken; `null` in the place of its token: there is none. */
  let refused: {
    readonly token: string | null
    readonly why: string
    readonly since: number
    /** What was in force then: after a reload it is judged anew. */
    readonly under: GatewayConfig
  } | null = null
  const wasJudged = () => refused !== null && refused.under === registry.current().config

  /** The version that it was last said to go by; 0: its own file. */
  let told = -1

  const refuse = Effect.fnUntraced(function* (token: string | null, why: string) {
    refused = { token, why, since: yield* monotonicMillis, under: registry.current().config }
    yield* Effect.logError(why)
  })

  const adopt = Effect.fnUntraced(function* (policy: SitePolicy) {
    const goesOn = describe(registry.current().site)
    const result = yield* Effect.result(registry.adopt(policy))
    if (result._tag === "Success") {
      refused = null
      return
    }
    const [first = "", ...more] = result.failure.message.split("\n")
    const others = more.length === 0 ? "" : ` (and ${more.length} more)`
    yield* refuse(policy.token, `${first}${others}; ${goesOn} goes on`)
  })

  const takeOffer = Effect.fnUntraced(function* (offered: OfferedPolicy | null) {
    const inForce = registry.current().site
    const judgement = judgeOffer(inForce, offered)
    if (judgement === "Same") refused = null
    else if (refused !== null && wasJudged() && refused.token === (offered?.token ?? null)) return false
    else if (judgement === "Fallen") {
      const has = offered === null ? "no policy any more" : `policy ${offered.version}`
      yield* refuse(
        offered?.token ?? null,
        `the site has ${has}, and ${describe(inForce)} goes on here: PostgreSQL was put back to an earlier day — say what is to count with sallyport apply FILE`
      )
    } else if (offered !== null && offered.text !== null) {
      yield* adopt({ ...offered, text: offered.text })
      return true
    }
    return false
  })

  const tell = Effect.gen(function* () {
    const { site } = registry.current()
    if (told === (site?.version ?? 0)) return
    told = site?.version ?? 0
    yield* site === null
      ? Effect.logWarning(
          refused === null
            ? "no policy was applied to the site: this gateway's file counts — sallyport apply FILE changes that"
            : "this gateway goes by no policy of the site: its own file counts, with all rights that it gives"
        )
      : Effect.logInfo(
          `policy ${site.version} of the site is in force: what the file says of clients, resources and names does not count`
        )
  })

  const keepOnDisk = Effect.gen(function* () {
    const inForce = registry.current().site
    if (inForce === null || inForce.token === kept) return
    yield* keep(stateDir, inForce).pipe(
      Effect.andThen(Effect.sync(() => void (kept = inForce.token))),
      Effect.catch((why) => loudly("disk", why))
    )
  })

  const look = Effect.gen(function* () {
    let isNew = true
    while (isNew) {
      const { gateway } = yield* shared.standing
      const inForce = registry.current().site
      const known = (wasJudged() ? refused?.token : null) ?? inForce?.token ?? null
      isNew = yield* takeOffer(yield* lookAtPolicy({ gateway, inForce, known }))
    }
    yield* tell
  }).pipe(Effect.ignore, Effect.andThen(keepOnDisk))

  yield* Effect.forkScoped(
    superviseForever("Policy.look", Effect.andThen(Effect.timeoutOption(Queue.take(policyNews), lookTime), look))
  )
  return (): PolicyStanding => {
    const { site } = registry.current()
    const inForce = site === null ? null : { version: site.version, by: site.by, at: site.at }
    return { inForce, refused: refused === null ? null : { why: refused.why, since: refused.since } }
  }
})

const describe = (policy: SitePolicy | null): string =>
  policy === null ? "what this gateway's file says" : `policy ${policy.version}`
