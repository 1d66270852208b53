/**
 * Main and worker each have a monotonic clock: of another origin, and the worker's goes on while the host sleeps. The
 * receiver of a message moves the times in it by how much its clock is ahead of the sender's.
 */
import type { Notice } from "./notices.ts"
import type { Order } from "./orders.ts"

export const orderMoved = (order: Order, ahead: number): Order =>
  order._tag === "SetAddresses" ? { ...order, staleAt: order.staleAt + ahead } : order

export const noticeMoved = (notice: Notice, ahead: number): Notice =>
  notice._tag === "ClientState" && notice.handshakeAt !== null
    ? { ...notice, handshakeAt: notice.handshakeAt + ahead }
    : notice
