/** Everything that the engine's tests say holds as well where packets are looked at ahead of their turn. */
import { vi } from "vitest"

vi.mock(import("../support/engineWorld.ts"), async (original) => {
  const world = await original()
  return { ...world, ...world.lookingAhead }
})

await import("./engine.test.ts")
await import("./answers.test.ts")
await import("./clients.test.ts")
await import("./flows.test.ts")
await import("./fragments.test.ts")
await import("./networks.test.ts")
await import("./offloads.test.ts")
await import("./order.test.ts")
await import("./robustness.test.ts")
await import("./trains.test.ts")
