public import CGotoniTokenizer
internal import GotoniTokenizer

// Every pointer of the boundary is checked in this file.

@c @implementation public func gotoni_tokenizer_create(
    _ file: UnsafePointer<UInt8>?, _ fileSize: Int, _ format: Int32, _ config: UnsafePointer<UInt8>?, _ configSize: Int,
    _ cacheBytes: UInt64, _ out: UnsafeMutablePointer<OpaquePointer?>?,
    _ why: UnsafeMutablePointer<UnsafePointer<CChar>?>?
) -> gotoni_tokenizer_status {
    why?.pointee = nil
    out?.pointee = nil
    guard let out, let file, fileSize >= 0, configSize >= 0, config != nil || configSize == 0 else { return argument }
    let known: Tokenizer.Format
    switch Int(format) {
    case GOTONI_TOKENIZER_HUGGING_FACE: known = .huggingFace
    case GOTONI_TOKENIZER_TEKKEN: known = .tekken
    case GOTONI_TOKENIZER_QWEN_TIKTOKEN: known = .qwenTiktoken
    default: return argument
    }
    let budget = cacheBytes == 0 ? Tokenizer.defaultCacheBytes : Int(clamping: cacheBytes)
    do throws(TokenizerError) {
        let bytes = UnsafeBufferPointer(start: file, count: fileSize).span
        let beside = config.map { UnsafeBufferPointer(start: $0, count: configSize) }
        let tokenizer: Tokenizer
        if let beside {
            tokenizer = try Tokenizer(bytes, known, config: beside.span, cacheBytes: budget)
        } else {
            tokenizer = try Tokenizer(bytes, known, cacheBytes: budget)
        }
        out.pointee = OpaquePointer(Unmanaged.passRetained(tokenizer).toOpaque())
        return ok
    } catch {
        why?.pointee = cString(error.text)
        return -error.kind.rawValue
    }
}

@c @implementation public func gotoni_tokenizer_destroy(_ handle: OpaquePointer?) {
    guard let handle else { return }
    Unmanaged<Tokenizer>.fromOpaque(UnsafeRawPointer(handle)).release()
}

@c @implementation public func gotoni_tokenizer_encode(
    _ handle: OpaquePointer?, _ text: UnsafePointer<CChar>?, _ size: Int, _ flags: UInt32,
    _ ids: UnsafeMutablePointer<UInt32>?, _ capacity: Int, _ count: UnsafeMutablePointer<Int>?
) -> gotoni_tokenizer_status {
    count?.pointee = 0
    guard let tokenizer = tokenizer(handle), let count, text != nil || size == 0,
        flags & ~UInt32(GOTONI_TOKENIZER_ADD_SPECIAL_TOKENS) == 0,
        capacity == 0 || (ids != nil && Int(bitPattern: ids) % MemoryLayout<UInt32>.alignment == 0)
    else { return argument }
    // A size_t beyond Int.max arrives negative: no text is that long.
    guard size >= 0 else { return Int32(GOTONI_TOKENIZER_E_TOO_LONG) }
    do throws(TokenizerError) {
        return try tokenizer.withTokens(
            bytes(text, size).span, addSpecialTokens: flags & UInt32(GOTONI_TOKENIZER_ADD_SPECIAL_TOKENS) != 0
        ) { tokens in
            count.pointee = tokens.count
            guard capacity != 0 || ids != nil else { return ok }
            // A negative capacity is a size_t that is room enough for anything.
            guard capacity < 0 || tokens.count <= capacity else { return Int32(GOTONI_TOKENIZER_E_BUFFER) }
            tokens.withUnsafeBytes { tokens in
                if let ids, let base = tokens.baseAddress {
                    UnsafeMutableRawPointer(ids).copyMemory(from: base, byteCount: tokens.count)
                }
            }
            return ok
        }
    } catch {
        return -error.kind.rawValue
    }
}

@c @implementation public func gotoni_tokenizer_id(
    _ handle: OpaquePointer?, _ token: UnsafePointer<CChar>?, _ size: Int
) -> UInt32 {
    guard let tokenizer = tokenizer(handle), size >= 0, token != nil || size == 0 else { return UInt32.max }
    return tokenizer.id(of: bytes(token, size).span) ?? UInt32.max
}

@c @implementation public func gotoni_tokenizer_status_text(
    _ status: gotoni_tokenizer_status
) -> UnsafePointer<CChar>? {
    let text: StaticString =
        switch Int(status) {
        case GOTONI_TOKENIZER_OK: "all is well"
        case GOTONI_TOKENIZER_E_FORMAT: "the file is not what it should be"
        case GOTONI_TOKENIZER_E_UNSUPPORTED: "a model that cannot be followed exactly here; gotoni-tokenizer can"
        case GOTONI_TOKENIZER_E_ARGUMENT: "an argument is missing or has an unknown value"
        case GOTONI_TOKENIZER_E_BUFFER: "the array is too small; grow it to the count that was returned and call again"
        default: TokenizerError.allCases.first { $0.kind.rawValue == 0 &- status }?.text ?? "no status of this library"
        }
    return cString(text)
}

private var ok: gotoni_tokenizer_status { Int32(GOTONI_TOKENIZER_OK) }
private var argument: gotoni_tokenizer_status { Int32(GOTONI_TOKENIZER_E_ARGUMENT) }

private func tokenizer(_ handle: OpaquePointer?) -> Tokenizer? {
    handle.map { Unmanaged<Tokenizer>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
}

/// The caller's bytes, borrowed until the call returns.
private func bytes(_ text: UnsafePointer<CChar>?, _ size: Int) -> UnsafeBufferPointer<UInt8> {
    UnsafeRawBufferPointer(start: text, count: size).assumingMemoryBound(to: UInt8.self)
}

private func cString(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}
