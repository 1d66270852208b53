import type { Client } from "./Client.ts"
import type { Resource } from "./Resource.ts"

/** Client × resource; `expiresAt` in epoch milliseconds, `null` never. */
export interface Authorization {
  readonly client: Client
  readonly resource: Resource
  readonly expiresAt: number | null
}

/** Whether it has not expired. */
export const isOpen = ({ expiresAt }: Pick<Authorization, "expiresAt">, now: number): boolean =>
  expiresAt === null || expiresAt > now
