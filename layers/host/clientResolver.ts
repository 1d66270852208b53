/** The host's resolver for `sallyport connect --dns`: systemd-resolved, which can ask by domain. */
import * as Effect from "effect/Effect"
import type { WireguardConf } from "../../src/config/wireguardConf.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { type CommandFailed, runCommand } from "./hostCommand.ts"

/** A device that was made again, and a resolved that was restarted, have forgotten it. */
const tellAgain = "30 seconds"

/**
 * Names under the file's domains go to its servers, all names where it has no domains; the scope's end takes it back. What
 * cannot be done is told, and the tunnel goes on without.
 */
export const useNameServers = Effect.fnUntraced(function* (
  device: string,
  { dns, search }: Pick<WireguardConf, "dns" | "search">
) {
  if (dns.length === 0) {
    return yield* Effect.logWarning(
      "--dns has nothing to do: the file has no DNS line; add the gateway's address there"
    )
  }
  const split = search.length > 0 && !search.includes("~.")
  const tell = Effect.andThen(
    resolvectl("dns", device, ...dns),
    Effect.andThen(
      resolvectl("domain", device, ...(search.length > 0 ? search : ["~."])),
      // Domains to search alone would not keep other names away.
      resolvectl("default-route", device, split ? "no" : "yes")
    )
  )
  yield* Effect.addFinalizer(() => Effect.ignore(resolvectl("revert", device)))
  const told = yield* Effect.matchEffect(tell, {
    onFailure: (failed) => Effect.as(Effect.logWarning(withoutResolved(failed, dns)), false),
    onSuccess: () => {
      const asked = split ? `names under ${search.map((domain) => domain.replace(/^~/, "")).join(", ")}` : "all names"
      return Effect.as(
        Effect.logInfo(`${asked} are asked of ${dns.join(", ")}, by systemd-resolved on ${device}`),
        true
      )
    }
  })
  if (!told) return
  const turn = Effect.andThen(Effect.sleep(tellAgain), Effect.ignore(tell))
  yield* Effect.forkScoped(superviseForever("Connect.dns", turn))
})

const resolvectl = (...args: ReadonlyArray<string>) => runCommand("resolvectl", args)

const withoutResolved = ({ kind, output }: CommandFailed, servers: ReadonlyArray<string>): string => {
  const why =
    kind === "missing"
      ? "it has no systemd-resolved"
      : kind === "timeout"
        ? "resolvectl took too long"
        : `resolvectl says "${output}"`
  return `--dns does nothing on this host (${why}): its resolver is left alone; ask ${servers.join(", ")} for names behind the gateway`
}
