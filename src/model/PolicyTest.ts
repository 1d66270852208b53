import type { ClientId } from "./Client.ts"
import type { Target } from "./Target.ts"

/** What a file says that must hold of its own rules. */
export interface PolicyTest {
  readonly client: ClientId
  readonly reach: Target
  readonly expect: "allowed" | "denied"
  /** `file:line:column` */
  readonly place: string
}
