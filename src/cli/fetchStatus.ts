import { askGateway } from "./ControlClient.ts"
import { StatusReport } from "./statusReport.ts"

export const statusRequest = { method: "GET", path: "/v1/status" } as const

/** What the gateway at the control socket says of itself. */
export const fetchStatus = (socket: string) => askGateway(socket, statusRequest, StatusReport)
