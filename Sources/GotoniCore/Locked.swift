public import CPlatform

/// A value behind a pthread mutex: the only lock in GotoniCore. Public for the modules of this package.
///
/// Not `Synchronization.Mutex`: with more threads than cores its priority-inheriting futex hands over directly, which
/// was measured 175 times slower than a pthread mutex at 8 threads on 2 cores; and Embedded Swift has none.
public struct Locked<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    @usableFromInline let mutex: UnsafeMutablePointer<pthread_mutex_t>
    @usableFromInline let value: UnsafeMutablePointer<Value>

    @inlinable public init(_ value: consuming Value) throws(RouterError) {
        // Room to itself, so that spinning on the mutex disturbs little else.
        guard let memory = gotoni_platform_allocate(2, 64) else { throw .memory }
        let mutex = memory.bindMemory(to: pthread_mutex_t.self, capacity: 1)
        guard pthread_mutex_init(mutex, nil) == 0 else {
            gotoni_platform_free(memory)
            throw .memory
        }
        self.mutex = mutex
        self.value = UnsafeMutablePointer<Value>.allocate(capacity: 1)
        self.value.initialize(to: value)
    }

    @inlinable deinit {
        value.deinitialize(count: 1)
        value.deallocate()
        pthread_mutex_destroy(mutex)
        gotoni_platform_free(mutex)
    }

    @inlinable @inline(__always)
    public func withLock<Result, Failure: Error>(
        _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        gotoni_platform_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value.pointee)
    }
}
