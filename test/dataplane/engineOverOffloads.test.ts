/** Everything that the engine's tests say holds as well over a system that takes batches. */
import { vi } from "vitest"

vi.mock(import("../support/engineWorld.ts"), async (original) => {
  const world = await original()
  return { ...world, layer: world.offloadingLayer }
})

await import("./engine.test.ts")
await import("./answers.test.ts")
await import("./clients.test.ts")
await import("./flows.test.ts")
await import("./networks.test.ts")
await import("./robustness.test.ts")
