import type { Client } from "./Client.ts"
import type { Resource } from "./Resource.ts"

/** What somebody may reach; `expiresAt` in epoch milliseconds, `null` never. */
export interface Right {
  readonly resource: Resource
  readonly expiresAt: number | null
}

/** Client × resource. */
export interface Authorization extends Right {
  readonly client: Client
}

/** Whether it has not expired. */
export const isOpen = ({ expiresAt }: Pick<Right, "expiresAt">, now: number): boolean =>
  expiresAt === null || expiresAt > now
