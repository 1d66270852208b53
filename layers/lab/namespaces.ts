/** The lab's three hosts: network namespaces and the wires between them. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Dual, type LabError, labAddresses, type LabHost, labHosts } from "../../src/demo/Lab.ts"
import { removeAbandoned, removeNamespace } from "./abandoned.ts"
import { runCommand } from "./command.ts"

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
