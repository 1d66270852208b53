/** The lab's three hosts: network namespaces and the wires between them. */
import { existsSync } from "node:fs"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Dual, type LabError, labAddresses, type LabHost, labHosts } from "../../src/demo/Lab.ts"
import { attemptCommand, runCommand } from "./command.ts"

const prefix = "sallyport-lab"

/** Name prefix of one lab; the process id in it says who owns it. */
export const labId = (processId: number, serial: number): string => `${prefix}-${processId}-${serial}`

export const namespaceOf = (id: string, host: LabHost): string => `${id}-${host}`

/** Makes hosts and wires; closing the scope removes them, and everything that still runs in them. */
export const makeNamespaces = Effect.fnUntraced(function* (id: string) {
  const name = (host: LabHost): string => namespaceOf(id, host)
  yield* removeAbandoned
  for (const host of labHosts) {
    yield* Effect.acquireRelease(runCommand(["ip", "netns", "add", name(host)]), () => removeNamespace(name(host)))
  }
  const { inner, outer } = labAddresses
  yield* wire("outer", name("client"), name("gateway"))
  yield* wire("inner", name("lan"), name("gateway"))
  yield* configure(name("client"), "outer", [outer.client])
  yield* configure(name("gateway"), "outer", [outer.gateway])
  yield* configure(name("gateway"), "inner", [inner.gateway])
  yield* configure(name("lan"), "inner", [inner.dns, inner.origin, inner.otherOrigin])
}) satisfies (id: string) => Effect.Effect<void, LabError, Scope.Scope>

const wire = (device: string, left: string, right: string) =>
  runCommand(["ip", "link", "add", device, "netns", left, "type", "veth", "peer", "name", device, "netns", right])

const configure = (namespace: string, device: string, addresses: ReadonlyArray<Dual>) =>
  runCommand(["ip", "-n", namespace, "-batch", "-"], {
    input: [
      "link set lo up",
      `link set ${device} up`,
      ...addresses.flatMap(({ v4, v6 }) => [
        `address add ${v4}/24 dev ${device}`,
        `address add ${v6}/64 dev ${device} nodad`
      ]),
      ""
    ].join("\n")
  })

/** Ends what runs in the namespace, then removes it; never fails, since it cleans up. */
const removeNamespace = (namespace: string): Effect.Effect<void> =>
  attemptCommand(["ip", "netns", "pids", namespace]).pipe(
    Effect.tap(({ stdout }) =>
      Effect.sync(() => {
        for (const pid of stdout.split("\n").map(Number)) if (pid > 1 && pid !== process.pid) killQuietly(pid)
      })
    ),
    Effect.andThen(attemptCommand(["ip", "netns", "delete", namespace])),
    Effect.ignore
  )

/** Labs whose process was killed before it could clean up. */
const removeAbandoned = Effect.gen(function* () {
  const { stdout } = yield* attemptCommand(["ip", "netns", "list"])
  for (const line of stdout.split("\n")) {
    const [, namespace, owner] = /^(sallyport-lab-(\d+)-\d+-[a-z]+)/.exec(line) ?? []
    if (namespace !== undefined && !existsSync(`/proc/${owner}`)) yield* removeNamespace(namespace)
  }
})

const killQuietly = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // Ended by itself in the meantime.
  }
}
