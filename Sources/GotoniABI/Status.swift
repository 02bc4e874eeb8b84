public import CGotoni
internal import GotoniCore

@c @implementation public func gotoni_status_text(_ status: gotoni_status) -> UnsafePointer<CChar>? {
    if status == GOTONI_OK { return cString("success") }
    guard let error = RouterError(rawValue: status) else {
        return cString("an unknown status; the library is newer or older than the program")
    }
    return cString(error.text)
}
