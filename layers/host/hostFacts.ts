import * as os from "node:os"
import type { HostFacts } from "../../src/control/firezone/handshake.ts"

/** What a portal is told of this host. */
export const hostFacts = (): HostFacts => ({
  os: os.type(),
  osVersion: os.release().split("-", 1)[0] ?? os.release(),
  arch: os.machine(),
  kernel: os.release()
})
