internal import CPCRE2
internal import GotoniCore

/// A compiled pattern. Any thread; what matching changes is in a `Matcher`.
final class Pattern: @unchecked Sendable {
    private let ordinary: OpaquePointer
    /// For texts with a character of `UnicodeGap`.
    private let wide: OpaquePointer
    private let hasJIT: Bool

    /// A pattern as `tokenizer.json` has it. Errors: unsupported, memory.
    init(_ pattern: Bytes) throws(TokenizerError) {
        let ordinary = try Self.compile(PatternDialect.translate(pattern, wide: false))
        do throws(TokenizerError) {
            wide = try Self.compile(PatternDialect.translate(pattern, wide: true))
        } catch {
            pcre2_code_free_8(ordinary)
            throw error
        }
        self.ordinary = ordinary
        hasJIT = Self.translates(ordinary) && Self.translates(wide)
    }

    /// The characters of `UnicodeGap`.
    init() throws(TokenizerError) {
        ordinary = try Self.compile(PatternDialect.gap())
        wide = ordinary
        hasJIT = Self.translates(ordinary)
    }

    deinit {
        if wide != ordinary { pcre2_code_free_8(wide) }
        pcre2_code_free_8(ordinary)
    }

    private static func compile(_ pattern: [UInt8]) throws(TokenizerError) -> OpaquePointer {
        var (status, offset) = (Int32(0), 0)
        // `$` is the end of a line in Oniguruma.
        let options =
            UInt32(PCRE2_UTF) | UInt32(PCRE2_UCP) | UInt32(PCRE2_MULTILINE) | PCRE2_NO_UTF_CHECK
            | UInt32(PCRE2_NEVER_BACKSLASH_C)
        guard let code = pcre2_compile_8(pattern, pattern.count, options, &status, &offset, nil) else {
            throw .patternSyntax
        }
        var matchesNothing: UInt32 = 0
        guard pcre2_pattern_info_8(code, UInt32(PCRE2_INFO_MATCHEMPTY), &matchesNothing) == 0, matchesNothing == 0
        else {
            pcre2_code_free_8(code)
            throw .emptyMatch
        }
        return code
    }

    /// To machine code; where the system forbids that, matching goes on without, ten times slower.
    private static func translates(_ code: OpaquePointer) -> Bool {
        pcre2_jit_compile_8(code, UInt32(PCRE2_JIT_COMPLETE)) == 0
    }

    /// What finds this pattern; it holds as long as the pattern and the matcher live.
    @inline(__always) func finder(isWide: Bool, _ matcher: Matcher) -> Finder {
        Finder(
            code: isWide ? wide : ordinary, hasJIT: hasJIT, data: matcher.data, context: matcher.context,
            bounds: matcher.bounds)
    }

    struct Finder: BitwiseCopyable {
        fileprivate let code: OpaquePointer
        fileprivate let hasJIT: Bool
        fileprivate let data: OpaquePointer
        fileprivate let context: OpaquePointer
        fileprivate let bounds: UnsafeMutablePointer<Int>

        /// The first match in `text`, which is UTF-8, from `start` on, never empty; nil: none. What lies before `start`
        /// is seen by what looks behind. Errors: pattern.
        @inline(__always) func next(in text: Bytes, from start: Int) throws(TokenizerError) -> Range<Int>? {
            let status =
                hasJIT
                ? pcre2_jit_match_8(code, text.baseAddress, text.count, start, 0, data, context)
                : pcre2_match_8(code, text.baseAddress, text.count, start, PCRE2_NO_UTF_CHECK, data, context)
            if status == PCRE2_ERROR_NOMATCH { return nil }
            // 0: there are more groups than the whole match, which is all that is asked for.
            guard status >= 0 else { throw .pattern }
            guard bounds[0] < bounds[1] else { throw .pattern }
            return bounds[0]..<bounds[1]
        }
    }
}

/// Where libpcre2 writes what it found, and its stack; one for each thread.
final class Matcher {
    fileprivate let data: OpaquePointer
    fileprivate let context: OpaquePointer
    private let stack: OpaquePointer
    fileprivate let bounds: UnsafeMutablePointer<Int>

    init() throws(TokenizerError) {
        guard let data = pcre2_match_data_create_8(1, nil) else { throw .memory }
        guard let context = pcre2_match_context_create_8(nil) else {
            pcre2_match_data_free_8(data)
            throw .memory
        }
        guard let stack = pcre2_jit_stack_create_8(32 << 10, 1 << 20, nil) else {
            pcre2_match_context_free_8(context)
            pcre2_match_data_free_8(data)
            throw .memory
        }
        pcre2_jit_stack_assign_8(context, nil, UnsafeMutableRawPointer(stack))
        // Steps that a backtracking pattern may take for one match: 0.1 s or less.
        pcre2_set_match_limit_8(context, 10_000_000)
        bounds = pcre2_get_ovector_pointer_8(data)
        (self.data, self.context, self.stack) = (data, context, stack)
    }

    deinit {
        pcre2_match_context_free_8(context)
        pcre2_match_data_free_8(data)
        pcre2_jit_stack_free_8(stack)
    }
}
